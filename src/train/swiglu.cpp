#include "train/swiglu.h"

namespace moebox::train {

Tensor swiglu(const Tensor& gate_and_up) {
  const std::int64_t width = gate_and_up.size(1) / 2;
  return at::silu(gate_and_up.narrow(1, 0, width)) * gate_and_up.narrow(1, width, width);
}

}  // namespace moebox::train

#include "train/swiglu.h"

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

Tensor swiglu(const Tensor& gate_and_up) {
  if (is_for_cpu_operators(gate_and_up)) return cpu_swiglu(gate_and_up);
  const std::int64_t width = gate_and_up.size(1) / 2;
  return at::silu(gate_and_up.narrow(1, 0, width)) * gate_and_up.narrow(1, width, width);
}

}  // namespace moebox::train

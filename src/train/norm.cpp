#include "train/norm.h"

namespace moebox::train {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, at::ScalarType type) {
  const Tensor rows = x.to(at::kFloat);
  const Tensor scale = at::rsqrt(rows.pow(2).mean(-1, true) + epsilon);
  return (rows * scale * weight).to(type);
}

}  // namespace moebox::train

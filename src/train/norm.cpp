#include "train/norm.h"

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, at::ScalarType type) {
  const bool narrows = type == at::kBFloat16 || x.scalar_type() == type;  // the operator has no way back to float32
  if (is_for_cpu_operators(x) && narrows) return cpu_rms_norm(x, weight, epsilon, type);
  const Tensor rows = x.to(at::kFloat);
  const Tensor scale = at::rsqrt(rows.pow(2).mean(-1, true) + epsilon);
  return (rows * scale * weight).to(type);
}

}  // namespace moebox::train

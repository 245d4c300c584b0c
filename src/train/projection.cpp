#include "train/projection.h"

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

Tensor project(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor product =
      is_for_cpu_operators(x) ? cpu_project(x, weight) : at::matmul(x, weight.to(x.scalar_type()).t());
  return with_bias(product, bias);
}

Tensor with_bias(const Tensor& x, const Tensor& bias) { return bias.defined() ? x + bias.to(x.scalar_type()) : x; }

}  // namespace moebox::train

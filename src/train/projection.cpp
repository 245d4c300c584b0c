#include "train/projection.h"

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {

Tensor project(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor product =
      is_for_cpu_operators(x) ? cpu_project(x, weight) : at::matmul(x, weight.to(x.scalar_type()).t());
  return bias.defined() ? product + bias.to(x.scalar_type()) : product;
}

}  // namespace moebox::train

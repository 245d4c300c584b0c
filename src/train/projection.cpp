#include "train/projection.h"

namespace moebox::train {

Tensor project(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor product = at::matmul(x, weight.to(x.scalar_type()).t());
  return bias.defined() ? product + bias.to(x.scalar_type()) : product;
}

}  // namespace moebox::train

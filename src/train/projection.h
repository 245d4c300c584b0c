// A product with a weight, in the type of its input.
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// x (n, columns) times the weight's (rows, columns) transpose, plus the bias (rows) where there is one: (n, rows), in
/// x's type. Weights are float32 and are rounded to x's type for the product; their gradients are float32.
Tensor project(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
/// x (n, rows) plus the bias where there is one, in x's type.
Tensor with_bias(const Tensor& x, const Tensor& bias);

}  // namespace moebox::train

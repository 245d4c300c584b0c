// The root-mean-square norm (Zhang and Sennrich 2019), computed in float32.
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// x (..., n) / sqrt(mean(x^2) + epsilon) * weight (n), rounded to `type` at the end.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon, at::ScalarType type);

}  // namespace moebox::train

// The end of a step: the norm of all gradients, and AdamW (Loshchilov and Hutter 2019) on master weights in float.
#pragma once

#include <cstdint>

#include "train/ops/compute.h"

namespace moebox::train_ops {

/// The sum of x^2 over n values: of 2^14 at a time, these in ascending order, in double. Not finite when a value is
/// not, or when it is above 1e18.
double sum_squares(Compute& compute, const float* x, std::int64_t n);

struct AdamW {
  double learning_rate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  std::int64_t step = 1;      // counted from 1: for the bias corrections
  double gradient_scale = 1;  // what clipping leaves of the gradients
  bool zero_gradients = false;
};

/// Weights, gradients, both moments (n), and in the same pass a copy of the weights in BF16 unless `copy` is null:
///   g = scale * gradient; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
///   w = w (1 - lr * decay) - lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + epsilon)
void adamw(Compute& compute, const AdamW& settings, std::int64_t n, float* weights, float* gradients, float* m,
           float* v, BFloat16* copy);

}  // namespace moebox::train_ops

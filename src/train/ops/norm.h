// The root-mean-square norm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight, computed in float.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

/// x and y (n_rows, n); weight (n) float. X and Y: both float, both BFloat16, or float and BFloat16. Saves
/// rstd (n_rows), what each row was multiplied by. x == y in memory is allowed where their types are one.
template <class X, class Y>
void rms_norm_forward(Compute& compute, Rows<const X> x, const float* weight, float epsilon, Rows<Y> y, float* rstd);

/// dx (n_rows, n), and d_weight (n) (+)= the sum over all rows: of 64 rows at a time, these in ascending order.
template <class X, class Y>
void rms_norm_backward(Compute& compute, Rows<const Y> dy, Rows<const X> x, const float* weight, const float* rstd,
                       Rows<X> dx, float* d_weight, bool add);

}  // namespace moebox::train_ops

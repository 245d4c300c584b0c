// Products with a weight, and their gradients. f32, or BF16 with sums in f32; the weight's gradient is always f32.
//
// Nothing is saved: the backward takes x and the weight again. Sums are cut into parts of 1,024 (f32) or 2,048 (BF16)
// addends, each in one accumulator, and parts are added in ascending order: an element's error is below
// (part + parts) * 2^-24 * sum |x| |w|, plus the rounding to T.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

/// y (n_rows, out_features) = x (n_rows, in_features) times the transpose of weight (out_features, in_features).
/// T is float or BFloat16; Out is T or float. Throws Error(invalid_argument) when shapes do not fit together.
template <class T, class Out>
void linear_forward(Compute& compute, Rows<const T> x, Rows<const T> weight, Rows<Out> y);

/// dx (n_rows, in_features) = dy (n_rows, out_features) times weight.
template <class T, class Out>
void linear_input_gradient(Compute& compute, Rows<const T> dy, Rows<const T> weight, Rows<Out> dx);

/// dw (out_features, in_features), without gaps, (+)= the transpose of dy times x.
template <class T>
void linear_weight_gradient(Compute& compute, Rows<const T> dy, Rows<const T> x, float* dw, bool add);

}  // namespace moebox::train_ops

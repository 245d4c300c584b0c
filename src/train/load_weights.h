// Weights of a checkpoint of either format, in any of its types, as float32.
#pragma once

#include <initializer_list>
#include <string_view>

#include "spec/tensor_table.h"
#include "train/weights.h"

namespace moebox::train {

/// A stored tensor as float32 of the same shape; FP8 with its factors.
Tensor read_tensor(TensorFinder& find, const TensorView& stored);

/// Fills every weight but those of the roles `left_out`, which the caller reads in a way of its own. `find` has the
/// rules of the checkpoint's format. Throws Error: not_found, or invalid_file when a shape is another one.
void load_weights(const WeightSet& weights, TensorFinder& find, std::initializer_list<std::string_view> left_out = {});

}  // namespace moebox::train

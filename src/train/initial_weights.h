// Weights of a model that has not learnt anything yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/weights.h"

namespace moebox::train {

/// Matrices are drawn from a normal distribution, norms become ones, biases and statistics zeros. A value is a function
/// of the seed, its tensor's name and its place in that tensor: neither the order of the tensors nor the number of
/// threads or of ranks matters.
void draw_weights(const WeightSet& weights, std::uint64_t seed, double standard_deviation);

/// The normal numbers of one tensor.
Tensor drawn_tensor(const std::string& name, const std::vector<std::int64_t>& shape, std::uint64_t seed,
                    double standard_deviation);

}  // namespace moebox::train

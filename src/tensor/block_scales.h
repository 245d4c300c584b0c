// The factors that go with FP8 weights: one for each block of 128 x 128, as DeepSeek publishes them.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor_view.h"

namespace moebox {

inline constexpr std::int64_t scaled_block = 128;

/// Multiplies row `row` of a matrix by its factors. `scales` is F32, (rows / 128, columns / 128) rounded up, and has
/// been checked to be.
void multiply_by_block_scales(const TensorView& scales, std::int64_t row, std::span<float> values) noexcept;

}  // namespace moebox

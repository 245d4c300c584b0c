// Q8_0: 32 values of 8 bits with one scale. value = scale * q.
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ8_0 {
  static constexpr int n_elements = 32;
  Half scale;
  std::int8_t q[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

/// Writes the block's 32 values.
void dequantize(const BlockQ8_0& block, float* out) noexcept;

/// The block of 32 values with a scale of the largest magnitude / 127. Values must be finite.
void quantize(const float* x, BlockQ8_0& block) noexcept;

}  // namespace moebox

// Q5_K: 256 values of 5 bits in 8 groups of 32, each with a 6-bit scale and minimum.
// value = (scale * group scale) * q - (min * group minimum).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ5_K {
  static constexpr int n_elements = 256;
  Half scale;
  Half min;
  std::uint8_t scales[12];  // 8 scales and 8 minima of 6 bits, packed as in Q4_K
  std::uint8_t high[32];    // fifth bit of value 32 * g + l: bit g of byte l
  std::uint8_t q[128];      // low four bits, ordered as in Q4_K
};
static_assert(sizeof(BlockQ5_K) == 176);

/// Writes the block's 256 values.
void dequantize(const BlockQ5_K& block, float* out) noexcept;

/// The block of 256 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ5_K& block) noexcept;

}  // namespace moebox

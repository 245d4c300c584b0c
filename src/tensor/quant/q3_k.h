// Q3_K: 256 values of 3 bits in 16 groups of 16, each with a 6-bit scale.
// value = (scale * (group scale - 32)) * (q - 4).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ3_K {
  static constexpr int n_elements = 256;
  std::uint8_t high[32];    // third bit of value 32 * j + l: bit j of byte l
  std::uint8_t q[64];       // low two bits, ordered as in Q2_K
  std::uint8_t scales[12];  // 16 scales of 6 bits: see group_scales
  Half scale;
};
static_assert(sizeof(BlockQ3_K) == 110);

/// The 16 group scales, less 32: of -32 .. 31.
void group_scales(const BlockQ3_K& block, std::int8_t scales[16]) noexcept;

/// Writes the block's 256 values.
void dequantize(const BlockQ3_K& block, float* out) noexcept;

/// The block of 256 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ3_K& block) noexcept;

}  // namespace moebox

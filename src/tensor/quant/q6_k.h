// Q6_K: 256 values of 6 bits in 16 groups of 16, each with an 8-bit scale.
// value = (scale * group scale) * (q - 32).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ6_K {
  static constexpr int n_elements = 256;
  std::uint8_t low[128];  // low four bits. In half h (128 values), byte 64 * h + 32 * p + l: value 128 * h + 32 * p + l
                          // in the low nibble, value 128 * h + 64 + 32 * p + l in the high one
  std::uint8_t high[64];  // high two bits: bits 2s of byte 32 * h + l: value 128 * h + 32 * s + l
  std::int8_t scales[16];
  Half scale;
};
static_assert(sizeof(BlockQ6_K) == 210);

/// Writes the block's 256 values.
void dequantize(const BlockQ6_K& block, float* out) noexcept;

/// The block of 256 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ6_K& block) noexcept;

}  // namespace moebox

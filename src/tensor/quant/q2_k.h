// Q2_K: 256 values of 2 bits in 16 groups of 16, each with a 4-bit scale and minimum.
// value = (scale * group scale) * q - (min * group minimum).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ2_K {
  static constexpr int n_elements = 256;
  std::uint8_t scales[16];  // of group g: its scale in the low nibble, its minimum in the high one
  std::uint8_t q[64];       // half h (128 values), bits 2s of byte 32 * h + l: value 128 * h + 32 * s + l
  Half scale;
  Half min;
};
static_assert(sizeof(BlockQ2_K) == 84);

/// Writes the block's 256 values.
void dequantize(const BlockQ2_K& block, float* out) noexcept;

/// The block of 256 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ2_K& block) noexcept;

}  // namespace moebox

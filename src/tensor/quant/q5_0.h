// Q5_0: 32 values of 5 bits with one scale. value = scale * (q - 16).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ5_0 {
  static constexpr int n_elements = 32;
  Half scale;
  std::uint8_t high[4];  // fifth bit of value i: bit i of these 32, little-endian
  std::uint8_t q[16];    // low four bits, paired as in Q4_0
};
static_assert(sizeof(BlockQ5_0) == 22);

/// Writes the block's 32 values.
void dequantize(const BlockQ5_0& block, float* out) noexcept;

/// The block of 32 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ5_0& block) noexcept;

}  // namespace moebox

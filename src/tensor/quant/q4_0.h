// Q4_0: 32 values of 4 bits with one scale. value = scale * (q - 8).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ4_0 {
  static constexpr int n_elements = 32;
  Half scale;
  std::uint8_t q[16];  // byte i: value i in the low nibble, value i + 16 in the high one
};
static_assert(sizeof(BlockQ4_0) == 18);

/// Writes the block's 32 values.
void dequantize(const BlockQ4_0& block, float* out) noexcept;

/// The block of 32 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ4_0& block) noexcept;

}  // namespace moebox

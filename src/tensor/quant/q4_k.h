// Q4_K: 256 values of 4 bits in 8 groups of 32, each with a 6-bit scale and minimum.
// value = (scale * group scale) * q - (min * group minimum).
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockQ4_K {
  static constexpr int n_elements = 256;
  Half scale;
  Half min;
  std::uint8_t scales[12];  // 8 scales and 8 minima of 6 bits: see unpack_scales_and_minima
  std::uint8_t q[128];  // bytes 32 * j + l: value 64 * j + l in the low nibble, value 64 * j + 32 + l in the high one
};
static_assert(sizeof(BlockQ4_K) == 144);

/// The 6-bit scales and minima (0 .. 63) of the 8 groups from the 12 bytes that Q4_K and Q5_K keep them in.
void unpack_scales_and_minima(const std::uint8_t packed[12], std::uint8_t scales[8], std::uint8_t minima[8]) noexcept;

/// Writes the block's 256 values.
void dequantize(const BlockQ4_K& block, float* out) noexcept;

/// The opposite of unpack_scales_and_minima: scales and minima must be below 64.
void pack_scales_and_minima(const std::uint8_t scales[8], const std::uint8_t minima[8],
                            std::uint8_t packed[12]) noexcept;

/// The block of 256 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockQ4_K& block) noexcept;

}  // namespace moebox

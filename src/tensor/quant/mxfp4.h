// MXFP4: 32 values of FP4 (E2M1) with a shared power of two (E8M0): OCP Microscaling Formats (MX) Specification 1.0.
// value = 2^(exponent - 127) * fp4(q); the table holds twice the FP4 numbers, so that it is of integers.
#pragma once

#include <cstdint>

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockMXFP4 {
  static constexpr int n_elements = 32;
  std::uint8_t exponent;
  std::uint8_t q[16];  // paired as in Q4_0
};
static_assert(sizeof(BlockMXFP4) == 17);

/// Twice the FP4 number of each code: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
extern const std::int8_t mxfp4_table[16];

/// 2^(exponent - 128): the factor that goes with mxfp4_table. Exponents 0 and 1 give subnormal floats.
float mxfp4_half_scale(std::uint8_t exponent) noexcept;

/// Writes the block's 32 values.
void dequantize(const BlockMXFP4& block, float* out) noexcept;

/// The block of 32 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockMXFP4& block) noexcept;

}  // namespace moebox

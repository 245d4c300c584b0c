// How activations lie in memory between quantize() and matmul(). Constants and offsets only; no arithmetic on values.
//
// Tokens are cut into blocks of at most 128. A block of m tokens over int8 holds q as (columns / 32, m, 32) int8, then,
// aligned to 64 bytes, one record per block of columns and token, (columns / 32 or / 256, m). f32 activations are
// (n_tokens, n_columns).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace moebox {

inline constexpr int activation_block_tokens = 128;

/// What goes with 32 columns of a token. The start values are what the integer sum begins with when weights are stored
/// with an offset: sum((w + 8) * a) - 8 * sum(a) = sum(w * a).
struct ActivationRecord32 {
  std::int32_t start8, start16, start128;  // -8, -16, -128 times the sum of the block's int8
  float scale;
  float scaled_sum;  // scale * sum: what meets a block's minimum
};

/// What goes with 256 columns of a token. Sums are cut into sum = 128 * high + low with low in 0 .. 127, so that they
/// can meet the minimums in an int8 dot product.
struct ActivationRecord256 {
  float scale;
  std::int32_t unused;
  std::int8_t sums32_high[8], sums32_low[8];
  std::int8_t sums16_high[16], sums16_low[16];
  std::int8_t padding[8];
  std::int32_t start16_by_32[16];  // -32 times the sum of 16 columns
};
static_assert(sizeof(ActivationRecord32) == 20 && sizeof(ActivationRecord256) == 128);

#define MOEBOX_LAYOUT_INLINE static inline __attribute__((always_inline))

MOEBOX_LAYOUT_INLINE std::size_t activation_align(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

/// Offset of the records in a block of `m` tokens of int8.
MOEBOX_LAYOUT_INLINE std::size_t activation_records_offset(int m, int n_columns) noexcept {
  return activation_align(static_cast<std::size_t>(m) * static_cast<std::size_t>(n_columns));
}

/// Bytes of a block of `m` tokens.
MOEBOX_LAYOUT_INLINE std::size_t activation_token_block_bytes(ActivationType type, int m, int n_columns) noexcept {
  const auto elements = static_cast<std::size_t>(m) * static_cast<std::size_t>(n_columns);
  if (type == ActivationType::f32) return elements * sizeof(float);
  const std::size_t records = type == ActivationType::int8_block32 ? elements / 32 * sizeof(ActivationRecord32)
                                                                   : elements / 256 * sizeof(ActivationRecord256);
  return activation_records_offset(m, n_columns) + activation_align(records);
}

#undef MOEBOX_LAYOUT_INLINE

}  // namespace moebox

// IQ4_NL: 32 values of 4 bits that index a table of 16 unevenly spaced numbers. value = scale * table[q].
#pragma once

#include <cstdint>

#include "base/float_types.h"

namespace moebox {

/// Packed: may lie at any address.
struct [[gnu::packed]] BlockIQ4_NL {
  static constexpr int n_elements = 32;
  Half scale;
  std::uint8_t q[16];  // paired as in Q4_0
};
static_assert(sizeof(BlockIQ4_NL) == 18);

extern const std::int8_t iq4_nl_table[16];

/// Writes the block's 32 values.
void dequantize(const BlockIQ4_NL& block, float* out) noexcept;

/// The block of 32 values with the least squared error that a search finds. Values must be finite.
void quantize(const float* x, BlockIQ4_NL& block) noexcept;

}  // namespace moebox

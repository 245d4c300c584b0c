// Copies of converted activations: a token that many experts take is converted once.
#pragma once

#include <cstddef>

#include "kernels/kernel_table.h"

namespace moebox {

/// Tokens that were converted each by itself, `bytes` apart.
struct SingleActivations {
  const std::byte* data;
  std::size_t bytes;
};
/// The rows [first, last) of (n_rows, n_columns).
struct ActivationRows {
  int n_rows, n_columns, first, last;
};
/// Row r becomes a copy of token tokens[r]: what quantize() would have written there.
void gather_activations(ActivationType type, const SingleActivations& singles, const int* tokens,
                        const ActivationRows& rows, std::byte* activations) noexcept;

}  // namespace moebox

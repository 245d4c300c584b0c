// Copies bytes from one activation layout to another (activations.h); computes nothing.
#include "kernels/gather.h"

#include <algorithm>
#include <cstring>

#include "kernels/activations.h"

namespace moebox {
namespace {

std::size_t as_size(int count) noexcept { return static_cast<std::size_t>(count); }

}  // namespace

void gather_activations(ActivationType type, const SingleActivations& singles, const int* tokens,
                        const ActivationRows& rows, std::byte* activations) noexcept {
  const auto single = [&](int row) { return singles.data + as_size(tokens[row]) * singles.bytes; };
  if (type == ActivationType::f32) {
    const std::size_t bytes = as_size(rows.n_columns) * sizeof(float);
    for (int r = rows.first; r < rows.last; ++r) std::memcpy(activations + as_size(r) * bytes, single(r), bytes);
    return;
  }
  const bool by_32 = type == ActivationType::int8_block32;
  const std::size_t record_bytes = by_32 ? sizeof(ActivationRecord32) : sizeof(ActivationRecord256);
  const auto copy_record = [&](std::byte* to, const std::byte* from) {  // sizes that the compiler knows
    by_32 ? std::memcpy(to, from, sizeof(ActivationRecord32)) : std::memcpy(to, from, sizeof(ActivationRecord256));
  };
  const std::size_t full_bytes = activation_token_block_bytes(type, activation_block_tokens, rows.n_columns);
  for (int first = rows.first; first < rows.last;) {
    const int block = first / activation_block_tokens, begin = block * activation_block_tokens;
    const int m = std::min(activation_block_tokens, rows.n_rows - begin), last = std::min(begin + m, rows.last);
    std::byte* base = activations + as_size(block) * full_bytes;
    // Columns outside, tokens inside: what is written lies side by side.
    for (int column = 0; column < rows.n_columns / 32; ++column)
      for (int r = first; r < last; ++r)
        std::memcpy(base + as_size(column * m + r - begin) * 32, single(r) + as_size(column) * 32, 32);
    base += activation_records_offset(m, rows.n_columns);
    const std::size_t records = activation_records_offset(1, rows.n_columns);
    for (int column = 0; column < rows.n_columns / (by_32 ? 32 : 256); ++column)
      for (int r = first; r < last; ++r)
        copy_record(base + as_size(column * m + r - begin) * record_bytes,
                    single(r) + records + as_size(column) * record_bytes);
    first = last;
  }
}

}  // namespace moebox

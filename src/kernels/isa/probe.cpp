// Loops that do one thing only, with the instructions that the kernels use: they show a machine's limits (limits.h).
#include "kernels/isa/functions.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

std::int32_t probe_read(const std::byte* data, std::size_t bytes) noexcept {
  Ints sum[4] = {splat_int(0), splat_int(0), splat_int(0), splat_int(0)};
  for (std::size_t i = 0; i + 256 <= bytes; i += 256) {
    MOEBOX_UNROLL
    for (int j = 0; j < 4; ++j) sum[j] = bit_or(sum[j], load_ints(data + i + 64 * static_cast<std::size_t>(j)));
  }
  return sum_lanes(bit_or(bit_or(sum[0], sum[1]), bit_or(sum[2], sum[3])));
}

// Independent chains hide the latency of an operation; forget() keeps the compiler from computing a product once for
// all turns.
std::int64_t probe_int8(int turns) noexcept {
  Ints sum[probe_chains];
  for (int c = 0; c < probe_chains; ++c) sum[c] = splat_int(c);
  Bytes w = splat_byte(3), a = splat_byte(5);
  for (int turn = 0; turn < turns; ++turn) {
    forget(w);
    forget(a);
    MOEBOX_UNROLL
    for (int c = 0; c < probe_chains; ++c) sum[c] = dot_register(sum[c], w, a);
  }
  for (int c = 1; c < probe_chains; ++c) sum[0] = add(sum[0], sum[c]);
  Bytes result = as_bytes(sum[0]);
  forget(result);
  return std::int64_t{turns} * probe_chains * 64 * 2;
}

std::int64_t probe_float(int turns) noexcept {
  Floats sum[probe_chains];
  for (int c = 0; c < probe_chains; ++c) sum[c] = splat(static_cast<float>(c));
  Floats x = splat(0.5f), y = splat(0.25f);
  for (int turn = 0; turn < turns; ++turn) {
    forget(x);
    forget(y);
    MOEBOX_UNROLL
    for (int c = 0; c < probe_chains; ++c) sum[c] = fma(sum[c], x, y);
  }
  for (int c = 1; c < probe_chains; ++c) sum[0] = add(sum[0], sum[c]);
  forget(sum[0]);
  return std::int64_t{turns} * probe_chains * 16 * 2;
}

}  // namespace moebox::MOEBOX_SIMD

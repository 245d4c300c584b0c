// Attention with queries as lanes: 16 queries meet the same keys, one position after another, with an online softmax
// over tiles of 128 positions. It serves latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), where all heads
// of a token share one row of the cache, and where keys and values of a head are expanded to plain rows. Compiled once
// for each instruction set.
//
// For each lane and tile, whatever the other lanes are: scores with key_dim ascending in one accumulator; the new
// maximum m'; alpha = exp(m - m'); l = l * alpha, then l += p in ascending position; v = v * alpha, then v += p * value
// in ascending position. No sum crosses lanes.
#include "kernels/isa/functions.h"
#include "kernels/isa/kv_types.h"
#include "kernels/isa/math.h"
#include "kernels/isa/sight.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {
namespace {

constexpr int lanes = query_lanes;
constexpr int chains = value_queries * value_vectors;  // accumulators that fit the registers

template <int n>
MOEBOX_OP void score_rows(const LaneQueries& queries, const float* key, std::ptrdiff_t stride, float* scores) {
  Floats sum[n];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) sum[i] = splat(0);
  const float* q = queries.q;
  for (int d = 0; d < queries.key_dim; ++d, q += lanes) {
    const Floats a = load(q);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) sum[i] = fma(splat(key[i * stride + d]), a, sum[i]);
  }
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) store(scores + i * lanes, sum[i]);
}

// Scores to probabilities. Updates the maxima and sums of the state; returns alpha.
MOEBOX_OP Floats soften(float* scores, const Sight& sight, float* state) {
  const Floats old = load(state), m = hide_and_find_maximum(scores, sight, old);
  const Floats alpha = exp_not_positive(sub(old, m));
  Floats sum = mul(load(state + lanes), alpha);
  for (int j = 0; j < sight.seen; ++j) {
    const Floats p = exp_not_positive(sub(load(scores + j * lanes), m));
    store(scores + j * lanes, p);
    sum = add(sum, p);
  }
  store(state, m);
  store(state + lanes, sum);
  return alpha;
}

template <int n>
MOEBOX_OP void value_rows(const LaneRows& rows, const float* p, const Sight& sight, Floats alpha, int d, float* state) {
  Floats acc[n];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) acc[i] = mul(load(state + i * lanes), alpha);
  const float* value = rows.values + d;
  int j = 0;
  for (; j < sight.shared; ++j, value += rows.value_stride) {
    const Floats a = load(p + j * lanes);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) acc[i] = fma(splat(value[i]), a, acc[i]);
  }
  for (; j < sight.seen; ++j, value += rows.value_stride) {
    const Floats a = load(p + j * lanes), place = splat(static_cast<float>(j));
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) acc[i] = select_less(place, sight.visible, fma(splat(value[i]), a, acc[i]), acc[i]);
  }
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) store(state + i * lanes, acc[i]);
}

}  // namespace

void lanes_begin(int value_dim, float* state) noexcept {
  for (int i = 0; i < lanes; ++i) state[i] = lowest;
  std::memset(state + lanes, 0, static_cast<std::size_t>((1 + value_dim) * lanes) * sizeof(float));
}

void lanes_fold(const LaneQueries& queries, const LaneRows& rows) noexcept {
  const Sight sight = sight_of(queries.visible, rows.first_position, rows.n_rows);
  if (sight.seen == 0) return;
  alignas(64) float scores[lane_tile_positions * lanes];
  int j = 0;
  for (; j + chains <= sight.seen; j += chains) {
    score_rows<chains>(queries, rows.keys + j * rows.key_stride, rows.key_stride, scores + j * lanes);
  }
  for (; j < sight.seen; ++j) {
    score_rows<1>(queries, rows.keys + j * rows.key_stride, rows.key_stride, scores + j * lanes);
  }
  const Floats alpha = soften(scores, sight, queries.state);
  float* values = queries.state + 2 * lanes;
  int d = 0;
  for (; d + chains <= queries.value_dim; d += chains) {
    value_rows<chains>(rows, scores, sight, alpha, d, values + d * lanes);
  }
  for (; d < queries.value_dim; ++d) value_rows<1>(rows, scores, sight, alpha, d, values + d * lanes);
}

void lanes_merge(int value_dim, const float* later, float* state) noexcept {
  const Floats old_max = load(state), later_max = load(later);
  const Floats m = maximum(later_max, old_max);
  const Floats a = exp_not_positive(sub(old_max, m)), b = exp_not_positive(sub(later_max, m));
  store(state, m);
  for (int i = 1; i < 2 + value_dim; ++i) {
    store(state + i * lanes, fma(load(later + i * lanes), b, mul(load(state + i * lanes), a)));
  }
}

void lanes_finish(int value_dim, float* state) noexcept {
  const Floats sum = load(state + lanes);
  for (int i = 2; i < 2 + value_dim; ++i) store(state + i * lanes, div(load(state + i * lanes), sum));
}

void round_kv(KvType type, const float* x, int n, std::byte* out) noexcept {
  if (type == KvType::f32) {
    std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  if (type == KvType::q8_0) {
    for (int i = 0; i < n; i += kv_group_values) {
      const int size = n - i < kv_group_values ? n - i : kv_group_values;
      const Group group = round_group(x + i, size);
      std::memcpy(out, &group.scale, 2);
      std::memcpy(out + 2, group.q, static_cast<std::size_t>(size));
      out += 2 + size;
    }
    return;
  }
  int i = 0;
  for (; i + 16 <= n; i += 16) store_numbers(type, out + 2 * i, load(x + i));
  if (i == n) return;
  std::byte rest[32];
  store_numbers(type, rest, load_first(x + i, n - i));
  std::memcpy(out + 2 * i, rest, static_cast<std::size_t>(2 * (n - i)));
}

namespace {

template <class E>
void widen_numbers(const std::byte* x, int n, float* out) {
  int i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, E::load16(x + 2 * i));
  if (i == n) return;
  std::byte rest[32] = {};
  std::memcpy(rest, x + 2 * i, static_cast<std::size_t>(2 * (n - i)));
  store_first(out + i, E::load16(rest), n - i);
}

void widen_groups(const std::byte* x, int n, float* out) {
  int i = 0;
  for (; i + kv_group_values <= n; i += kv_group_values, x += 2 + kv_group_values) {
    const Floats scale = splat_half(x);
    store(out + i, mul(to_floats(widen_int8(x + 2)), scale));
    store(out + i + 16, mul(to_floats(widen_int8(x + 18)), scale));
  }
  if (i == n) return;
  std::byte rest[kv_group_values] = {};
  std::memcpy(rest, x + 2, static_cast<std::size_t>(n - i));
  for (int j = 0; i < n; i += 16, j += 16)
    store_first(out + i, mul(to_floats(widen_int8(rest + j)), splat_half(x)), n - i < 16 ? n - i : 16);
}

}  // namespace

void widen_kv(KvType type, const std::byte* x, int n_rows, int n, float* out) noexcept {
  if (type == KvType::f32) {
    std::memcpy(out, x, static_cast<std::size_t>(n_rows) * static_cast<std::size_t>(n) * sizeof(float));
  } else if (type == KvType::f16) {
    widen_numbers<HalfElement>(x, n_rows * n, out);
  } else if (type == KvType::bf16) {
    widen_numbers<BFloatElement>(x, n_rows * n, out);
  } else {
    const std::size_t row = kv_bytes(type, n);
    for (int r = 0; r < n_rows; ++r, x += row, out += n) widen_groups(x, n, out);
  }
}

}  // namespace moebox::MOEBOX_SIMD

// Attention with queries as lanes, as in lanes.cpp, on numbers rounded to BF16: queries, keys, probabilities and
// values. Products and sums are f32. Compiled once for each instruction set, and once more for AVX-512 with BF16.
//
// For each lane and tile: scores by pairs of key_dim, ascending, in one accumulator; the new maximum m'; alpha =
// exp(m - m'); p = exp(score - m'), rounded; l = l * alpha, then l += p in ascending position; the tile's sum of p *
// value by pairs of positions, ascending, from 0; v = v * alpha + that sum, rounded once. The second of a pair is added
// before the first (pairs.h). No sum crosses lanes.
#include "kernels/isa/functions.h"
#include "kernels/isa/math.h"
#include "kernels/isa/pairs.h"
#include "kernels/isa/sight.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {
namespace {

constexpr int lanes = query_lanes;
constexpr int chains = value_queries * value_vectors;  // accumulators that fit the registers

template <class T>
MOEBOX_OP T* as(std::byte* p) {
  return reinterpret_cast<T*>(p);
}
template <class T>
MOEBOX_OP const T* as(const std::byte* p) {
  return reinterpret_cast<const T*>(p);
}

MOEBOX_OP int pairs_in(int n) { return (n + 1) / 2; }

template <int n>
MOEBOX_OP void score_rows(const Pair* q, const Pair* key, int n_pairs, float* scores) {
  Floats sum[n];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) sum[i] = splat(0);
  for (int d = 0; d < n_pairs; ++d, q += lanes) {
    const Pairs a = load_pairs(q);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) sum[i] = dot(sum[i], a, key + i * n_pairs + d);
  }
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) store(scores + i * lanes, sum[i]);
}

// Scores to pairs of rounded probabilities. Updates the maxima and sums of the state; returns alpha.
MOEBOX_OP Floats soften(float* scores, const Sight& sight, float* state, Pair* p) {
  const Floats old = load(state), m = hide_and_find_maximum(scores, sight, old);
  const Floats alpha = exp_not_positive(sub(old, m));
  Floats sum = mul(load(state + lanes), alpha);
  for (int j = 0; j < sight.seen; j += 2) {
    const Floats first = round_positive_bfloat(exp_not_positive(sub(load(scores + j * lanes), m)));
    sum = add(sum, first);
    Floats second = splat(0);
    if (j + 1 < sight.seen) {
      second = round_positive_bfloat(exp_not_positive(sub(load(scores + (j + 1) * lanes), m)));
      sum = add(sum, second);
    }
    store_pairs(p + j / 2 * lanes, pairs_of(first, second));
  }
  store(state, m);
  store(state + lanes, sum);
  return alpha;
}

template <int n>
MOEBOX_OP void value_rows(const Pair* values, int value_dim, const Pair* p, const Sight& sight, Floats alpha,
                          float* state) {
  Floats acc[n];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) acc[i] = splat(0);
  int j = 0;
  for (; j + 1 < sight.shared; j += 2, values += value_dim, p += lanes) {
    const Pairs a = load_pairs(p);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) acc[i] = dot(acc[i], a, values + i);
  }
  for (; j < sight.seen; j += 2, values += value_dim, p += lanes) {
    const Pairs a = load_pairs(p);
    const Floats first = splat(static_cast<float>(j)), second = splat(static_cast<float>(j + 1));
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) {
      acc[i] = select_less(second, sight.visible, fma(splat_second(values + i), seconds_of(a), acc[i]), acc[i]);
      acc[i] = select_less(first, sight.visible, fma(splat_first(values + i), firsts_of(a), acc[i]), acc[i]);
    }
  }
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) store(state + i * lanes, fma(load(state + i * lanes), alpha, acc[i]));
}

}  // namespace

void round_queries(int key_dim, const float* q, std::byte* out) noexcept {
  Pair* to = as<Pair>(out);
  for (int d = 0; d < key_dim; d += 2, q += 2 * lanes, to += lanes) {
    const Floats second = d + 1 < key_dim ? round_bfloat(load(q + lanes)) : splat(0);
    store_pairs(to, pairs_of(round_bfloat(load(q)), second));
  }
}

void round_keys(const float* keys, std::ptrdiff_t stride, int n_rows, int key_dim, std::byte* out) noexcept {
  Pair* to = as<Pair>(out);
  for (int r = 0; r < n_rows; ++r, keys += stride, to += pairs_in(key_dim)) {
    int d = 0;
    for (; d + 16 <= key_dim; d += 16) store_row(to + d / 2, round_bfloat(load(keys + d)));
    if (d < key_dim) store_row(to + d / 2, round_bfloat(load_first(keys + d, key_dim - d)));
  }
}

void round_values(const float* values, std::ptrdiff_t stride, int n_rows, int value_dim, std::byte* out) noexcept {
  Pair* to = as<Pair>(out);
  for (int r = 0; r < n_rows; r += 2, values += 2 * stride, to += value_dim) {
    const bool both = r + 1 < n_rows;
    for (int d = 0; d < value_dim; d += 16) {
      const int n = value_dim - d < 16 ? value_dim - d : 16;
      const Floats second = both ? round_bfloat(load_first(values + stride + d, n)) : splat(0);
      store_row_pairs(to + d, round_bfloat(load_first(values + d, n)), second);
    }
  }
}

void lanes_fold_rounded(const RoundedQueries& queries, const RoundedRows& rows) noexcept {
  const Sight sight = sight_of(queries.visible, rows.first_position, rows.n_rows);
  if (sight.seen == 0) return;
  alignas(64) float scores[lane_tile_positions * lanes];
  alignas(64) Pair p[lane_tile_positions / 2 * lanes];
  const Pair *q = as<Pair>(queries.q), *keys = as<Pair>(rows.keys), *values = as<Pair>(rows.values);
  const int n_pairs = pairs_in(queries.key_dim), value_dim = queries.value_dim;
  int j = 0;
  for (; j + chains <= sight.seen; j += chains) score_rows<chains>(q, keys + j * n_pairs, n_pairs, scores + j * lanes);
  for (; j < sight.seen; ++j) score_rows<1>(q, keys + j * n_pairs, n_pairs, scores + j * lanes);
  const Floats alpha = soften(scores, sight, queries.state, p);
  float* sums = queries.state + 2 * lanes;
  int d = 0;
  for (; d + chains <= value_dim; d += chains)
    value_rows<chains>(values + d, value_dim, p, sight, alpha, sums + d * lanes);
  for (; d < value_dim; ++d) value_rows<1>(values + d, value_dim, p, sight, alpha, sums + d * lanes);
}

}  // namespace moebox::MOEBOX_SIMD

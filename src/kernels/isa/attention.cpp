// Attention over blocks of 32 positions with an online softmax (Milakov and Gimelshein, arXiv 1805.02867), and the KV
// cache's store. Compiled once for each instruction set.
//
// For each query and block, in this order whatever else is computed beside it: scores with lanes = positions, head_dim
// ascending; the new maximum m'; alpha = exp(m - m'); p = exp(score - m'); l = l * alpha + sum(p) by a fixed tree; then
// the values with lanes = head_dim: acc = acc * alpha, and acc += p * v, positions ascending. A query's arithmetic
// never meets a position that it does not see: what lies there may be anything.
#include "kernels/isa/functions.h"
#include "kernels/isa/kv_types.h"
#include "kernels/isa/math.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {
namespace {

constexpr int max_head_dim = 256;
constexpr int tile_queries = 32;  // queries that share a pass over a segment
constexpr int block = kv_block_tokens;

// ---- one tile of queries against one block ----

// What a pass over a segment keeps for its queries.
struct Tile {
  alignas(64) float q[max_head_dim * tile_queries];  // (head_dim, tile_queries)
  alignas(64) float p[tile_queries * block];         // scores, then probabilities
  alignas(64) float alpha[tile_queries];
  alignas(64) float value_scales[max_head_dim];  // of the block, where the cache's type has such: (32, groups)
  int visible[tile_queries];                     // positions of the segment that the query sees: not descending
  float* partial[tile_queries];                  // maximum, sum, values
  int n_queries = 0;
};

// scores[i][position] for n queries beginning with `first`.
template <class E, int n>
MOEBOX_OP void score_tile(const std::byte* k, int head_dim, float scale, Tile& tile, int first) {
  Floats sum[n][2];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) sum[i][0] = sum[i][1] = splat(0);
  const float* q = tile.q + first;
  typename E::Keys keys(k, head_dim);
  for (int d = 0; d < head_dim; ++d, q += tile_queries) {
    Floats k0, k1;
    keys.next(d, k0, k1);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) {
      const Floats a = splat(q[i]);
      sum[i][0] = fma(k0, a, sum[i][0]);
      sum[i][1] = fma(k1, a, sum[i][1]);
    }
  }
  const Floats factor = splat(scale);
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) {
    float* p = tile.p + (first + i) * block;
    store(p, mul(sum[i][0], factor));
    store(p + 16, mul(sum[i][1], factor));
  }
}

// Calls f.template operator()<n>() for the n = count of 1 .. most.
template <int most, class F>
MOEBOX_OP void with_count(int count, F&& f) {
  if constexpr (most > 1) {
    if (count < most) return with_count<most - 1>(count, f);
  }
  f.template operator()<most>();
}

MOEBOX_OP int at_most(int n, int limit) { return n < limit ? n : limit; }

template <class E>
void score_block(const std::byte* k, int head_dim, float scale, Tile& tile, int first) {
  for (int i = first; i < tile.n_queries; i += score_queries) {
    with_count<score_queries>(at_most(tile.n_queries - i, score_queries),
                              [&]<int n>() { score_tile<E, n>(k, head_dim, scale, tile, i); });
  }
}

MOEBOX_OP int visible_in_block(const Tile& tile, int query, int position) {
  const int n = tile.visible[query] - position;
  return n < block ? n : block;
}

// Scores to probabilities; updates maximum and sum of each query and leaves alpha.
void soften(Tile& tile, int first, int position) {
  const Floats lowest = splat(-infinity);
  for (int i = first; i < tile.n_queries; ++i) {
    float* p = tile.p + i * block;
    Floats s0 = load(p), s1 = load(p + 16);
    const int n = visible_in_block(tile, i, position);
    if (n < block) {
      s0 = first_lanes(s0, n, lowest), s1 = first_lanes(s1, n - 16, lowest);
      store(p, s0);
      store(p + 16, s1);
    }
    // maximum() drops a NaN of its first argument: one score that is NaN makes the sum NaN below.
    const float m = max_lanes(maximum(s0, maximum(s1, splat(tile.partial[i][0]))));
    tile.alpha[i] = tile.partial[i][0] - m;
    tile.partial[i][0] = m;
  }
  for (int i = first / 16 * 16; i < tile.n_queries; i += 16)
    store(tile.alpha + i, exp_not_positive(load(tile.alpha + i)));
  for (int i = first; i < tile.n_queries; ++i) {
    float* p = tile.p + i * block;
    const Floats m = splat(tile.partial[i][0]);
    const Floats p0 = exp_not_positive(sub(load(p), m)), p1 = exp_not_positive(sub(load(p + 16), m));
    store(p, p0);
    store(p + 16, p1);
    tile.partial[i][1] = __builtin_fmaf(tile.partial[i][1], tile.alpha[i], sum_lanes(add(p0, p1)));
  }
}

// acc[i][d ...] = acc * alpha + sum of p * v over positions [from, to), for n queries and n_vectors * 16 values; with
// `half` the one vector has 8 values. alpha applies when from is 0: the block's first part.
template <class E, int n, int n_vectors, bool half>
MOEBOX_OP void value_tile(const std::byte* v, int head_dim, Tile& tile, int first, int from, int to, int d) {
  Floats acc[n][n_vectors];
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) {
    const float* values = tile.partial[first + i] + 2 + d;
    const Floats alpha = splat(from == 0 ? tile.alpha[first + i] : 1.0f);
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) acc[i][j] = mul(half ? load_first(values, 8) : load(values + 16 * j), alpha);
  }
  typename E::Values source(v, tile.value_scales, head_dim, from, d);
  const float* p = tile.p + first * block;
  for (int position = from; position < to; ++position, source.next()) {
    Floats x[n_vectors];
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) x[j] = half ? source.half_vector() : source.vector(j);
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) {
      const Floats a = splat(p[i * block + position]);
      MOEBOX_UNROLL
      for (int j = 0; j < n_vectors; ++j) acc[i][j] = fma(x[j], a, acc[i][j]);
    }
  }
  MOEBOX_UNROLL
  for (int i = 0; i < n; ++i) {
    float* values = tile.partial[first + i] + 2 + d;
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) half ? store_first(values, acc[i][j], 8) : store(values + 16 * j, acc[i][j]);
  }
}

template <class E, int n>
void value_rows(const std::byte* v, int head_dim, Tile& tile, int first, int from, int to) {
  int d = 0;
  for (; d + 16 * value_vectors <= head_dim; d += 16 * value_vectors) {
    value_tile<E, n, value_vectors, false>(v, head_dim, tile, first, from, to, d);
  }
  for (; d + 16 <= head_dim; d += 16) value_tile<E, n, 1, false>(v, head_dim, tile, first, from, to, d);
  if (d < head_dim) value_tile<E, n, 1, true>(v, head_dim, tile, first, from, to, d);
}

template <class E>
void value_block(const std::byte* v, int head_dim, Tile& tile, int first, int position) {
  for (int i = first; i < tile.n_queries; i += value_queries) {
    const int n_queries = at_most(tile.n_queries - i, value_queries);
    // All queries of the step see the positions that its first one sees; the rest is each query's own.
    const int shared = visible_in_block(tile, i, position);
    with_count<value_queries>(n_queries, [&]<int n>() { value_rows<E, n>(v, head_dim, tile, i, 0, shared); });
    for (int j = i; j < i + n_queries; ++j) {
      const int own = visible_in_block(tile, j, position);
      if (own > shared) value_rows<E, 1>(v, head_dim, tile, j, shared, own);
    }
  }
}

// ---- a segment ----

// A block of K or V as floats, when many queries share it.
struct alignas(64) FloatBlock {
  float value[max_head_dim * block];
};

MOEBOX_OP const std::byte* as_bytes(const FloatBlock& floats) {
  return reinterpret_cast<const std::byte*>(floats.value);
}

template <class E>
void widen_keys(Plain<E>, const std::byte* k, int head_dim, FloatBlock& to) {
  for (int i = 0; i < head_dim * block; i += 16)
    store(to.value + i, E::load16(k + static_cast<std::size_t>(i) * E::bytes));
}
template <class E>
void widen_values(Plain<E> type, const std::byte* v, int head_dim, const float*, FloatBlock& to) {
  widen_keys(type, v, head_dim, to);
}

void widen_keys(Grouped, const std::byte* k, int head_dim, FloatBlock& to) {
  Grouped::Keys keys(k, head_dim);
  for (int d = 0; d < head_dim; ++d) {
    Floats k0, k1;
    keys.next(d, k0, k1);
    store(to.value + d * block, k0);
    store(to.value + d * block + 16, k1);
  }
}
void widen_values(Grouped, const std::byte* v, int head_dim, const float* scales, FloatBlock& to) {
  for (int d = 0; d < head_dim; d += 16) {
    Grouped::Values values(v, scales, head_dim, 0, d);
    float* row = to.value + d;
    for (int position = 0; position < block; ++position, values.next(), row += head_dim) {
      if (d + 16 <= head_dim)
        store(row, values.vector(0));
      else
        store_first(row, values.half_vector(), 8);
    }
  }
}

struct Head {
  std::size_t k, v;  // offsets within a block
};

Head head_of(const KvShape& shape, int kv_head) {
  const std::size_t head = kv_bytes(shape.type, shape.head_dim) * block;
  return {static_cast<std::size_t>(kv_head) * head, static_cast<std::size_t>(shape.n_kv_heads + kv_head) * head};
}

// What a block of a head is, for some queries.
struct BlockOfHead {
  const std::byte *k, *v;
  int head_dim;
  int position;  // of its first token in the segment
};

template <class E>
void attend_directly(const BlockOfHead& of, float scale, Tile& tile, int first) {
  score_block<E>(of.k, of.head_dim, scale, tile, first);
  soften(tile, first, of.position);
  value_block<E>(of.v, of.head_dim, tile, first, of.position);
}

template <class E>
void attend_block(const BlockOfHead& of, float scale, Tile& tile, int first) {
  E::read_value_scales(of.v, of.head_dim, tile.value_scales);
  if (tile.n_queries - first <= score_queries) return attend_directly<E>(of, scale, tile, first);
  FloatBlock k, v;
  widen_keys(E{}, of.k, of.head_dim, k);
  widen_values(E{}, of.v, of.head_dim, tile.value_scales, v);
  attend_directly<Plain<FloatElement>>({as_bytes(k), as_bytes(v), of.head_dim, of.position}, scale, tile, first);
}

void attend_tile(const AttentionArgs& args, int kv_head, int segment, Tile& tile) {
  const Head head = head_of(args.kv, kv_head);
  const std::byte* const* blocks = args.blocks + segment * (kv_segment_tokens / block);
  int first = 0;
  for (int position = 0; position < tile.visible[tile.n_queries - 1]; position += block) {
    while (tile.visible[first] <= position) ++first;
    const std::byte* data = blocks[position / block];
    const BlockOfHead of{data + head.k, data + head.v, args.kv.head_dim, position};
    switch (args.kv.type) {
      case KvType::f16:
        attend_block<Plain<HalfElement>>(of, args.scale, tile, first);
        break;
      case KvType::bf16:
        attend_block<Plain<BFloatElement>>(of, args.scale, tile, first);
        break;
      case KvType::q8_0:
        attend_block<Grouped>(of, args.scale, tile, first);
        break;
      case KvType::f32:
        attend_directly<Plain<FloatElement>>(of, args.scale, tile, first);
        break;
    }
  }
}

/// A query as its keys are kept.
void put_query(const KvShape& kv, const float* q, Tile& tile, int index) {
  float* to = tile.q + index;
  if (kv.type != KvType::q8_0) {
    for (int d = 0; d < kv.head_dim; ++d) to[d * tile_queries] = q[d];
    return;
  }
  for (int d = 0; d < kv.head_dim; d += kv_group_values) {
    const int n = at_most(kv.head_dim - d, kv_group_values);
    float rotated[kv_group_values];
    rotate_group(q + d, n, rotated);
    for (int j = 0; j < n; ++j) to[(d + j) * tile_queries] = rotated[j];
  }
}

MOEBOX_OP int partial_floats(int head_dim) { return (2 + head_dim + 15) / 16 * 16; }

}  // namespace

void attend_segment(const AttentionArgs& args, int kv_head, int first, int last, int segment,
                    float* partials) noexcept {
  const int group = args.n_heads / args.kv.n_kv_heads, head_dim = args.kv.head_dim;
  const int n = (last - first) * group, floats = partial_floats(head_dim);
  Tile tile;
  for (int start = 0; start < n; start += tile_queries) {
    tile.n_queries = n - start < tile_queries ? n - start : tile_queries;
    for (int i = 0; i < tile_queries; ++i) tile.alpha[i] = 0;
    for (int i = 0; i < tile.n_queries; ++i) {
      const int token = first + (start + i) / group, head = kv_head * group + (start + i) % group;
      const int seen = args.first_position + token + 1 - segment * kv_segment_tokens;
      tile.visible[i] = seen < 0 ? 0 : seen < kv_segment_tokens ? seen : kv_segment_tokens;
      float* partial = tile.partial[i] = partials + std::ptrdiff_t{start + i} * floats;
      std::memset(partial, 0, static_cast<std::size_t>(floats) * sizeof(float));
      partial[0] = -infinity;
      const float* q = args.q + token * args.q_stride + std::ptrdiff_t{head} * head_dim;
      put_query(args.kv, q, tile, i);
    }
    attend_tile(args, kv_head, segment, tile);
  }
}

namespace {

MOEBOX_OP float exp1(float x) { return first_lane(exp_not_positive(splat(x))); }

// Folds partials into out, 16 values at a time; n of them count.
struct Fold {
  const float* partials;  // of the query, in segment 0
  std::ptrdiff_t segment_stride;
  int n_segments;
  float* out;
};

// Calls each(segment, factor of what is so far, factor of this segment); returns the sum.
template <class Each>
MOEBOX_OP float fold_segments(const Fold& fold, Each&& each) {
  float m = -infinity, l = 0;
  for (int s = 0; s < fold.n_segments; ++s) {
    const float* partial = fold.partials + s * fold.segment_stride;
    if (partial[1] == 0) continue;  // a neutral partial must leave every bit as it is
    const float larger = partial[0] > m ? partial[0] : m;
    const float old_factor = exp1(m - larger), new_factor = exp1(partial[0] - larger);
    l = __builtin_fmaf(partial[1], new_factor, l * old_factor);
    m = larger;
    each(partial + 2, old_factor, new_factor);
  }
  return l;
}

void combine(const Fold& fold, int head_dim) {
  alignas(64) float values[max_head_dim] = {};
  const float l = fold_segments(fold, [&](const float* partial, float old_factor, float new_factor) {
    const Floats a = splat(old_factor), b = splat(new_factor);
    for (int d = 0; d < head_dim; d += 16) {
      const Floats v = d + 16 <= head_dim ? load(partial + d) : load_first(partial + d, head_dim - d);
      store(values + d, fma(v, b, mul(load(values + d), a)));
    }
  });
  const Floats sum = splat(l);
  int d = 0;
  for (; d + 16 <= head_dim; d += 16) store(fold.out + d, div(load(values + d), sum));
  if (d < head_dim) store_first(fold.out + d, div(load(values + d), sum), head_dim - d);
}

}  // namespace

void attend_combine(const AttentionArgs& args, int kv_head, int first, int last, int n_segments, const float* partials,
                    std::ptrdiff_t segment_stride) noexcept {
  const int group = args.n_heads / args.kv.n_kv_heads, head_dim = args.kv.head_dim;
  for (int token = first; token < last; ++token) {
    for (int h = 0; h < group; ++h, partials += partial_floats(head_dim)) {
      float* out = args.out + token * args.out_stride + std::ptrdiff_t{kv_head * group + h} * head_dim;
      combine({partials, segment_stride, n_segments, out}, head_dim);
    }
  }
}

namespace {

void store_grouped_rows(const float* k, const float* v, int head_dim, int slot, std::byte* to_k, std::byte* to_v) {
  const int groups = kv_groups(head_dim), scales = head_dim * block;
  for (int g = 0; g < groups; ++g) {
    const int d = g * kv_group_values, n = at_most(head_dim - d, kv_group_values);
    float rotated[kv_group_values];
    rotate_group(k + d, n, rotated);
    const Group key = round_group(rotated, n), value = round_group(v + d, n);
    for (int i = 0; i < n; ++i) to_k[(d + i) * block + slot] = static_cast<std::byte>(key.q[i]);
    std::memcpy(to_k + scales + 2 * (g * block + slot), &key.scale, 2);
    std::memcpy(to_v + slot * head_dim + d, value.q, static_cast<std::size_t>(n));
    std::memcpy(to_v + scales + 2 * (slot * groups + g), &value.scale, 2);
  }
}

void store_rows(KvType type, const float* k, const float* v, int head_dim, int slot, std::byte* to_k, std::byte* to_v) {
  for (int d = 0; d < head_dim; d += 16) {
    const int n = at_most(head_dim - d, 16);
    std::uint16_t keys[16], values[16];
    store_numbers(type, keys, load_first(k + d, n));
    store_numbers(type, values, load_first(v + d, n));
    for (int i = 0; i < n; ++i) std::memcpy(to_k + 2 * ((d + i) * block + slot), keys + i, 2);
    std::memcpy(to_v + 2 * (slot * head_dim + d), values, static_cast<std::size_t>(2 * n));
  }
}

}  // namespace

void store_kv(const KvShape& shape, const float* k, const float* v, std::byte* data, int slot) noexcept {
  const int head_dim = shape.head_dim;
  for (int h = 0; h < shape.n_kv_heads; ++h, k += head_dim, v += head_dim) {
    const Head head = head_of(shape, h);
    std::byte* to_k = data + head.k;
    std::byte* to_v = data + head.v;
    if (shape.type == KvType::f32) {
      for (int d = 0; d < head_dim; ++d) std::memcpy(to_k + 4 * (d * block + slot), k + d, 4);
      std::memcpy(to_v + 4 * slot * head_dim, v, static_cast<std::size_t>(4 * head_dim));
    } else if (shape.type == KvType::q8_0) {
      store_grouped_rows(k, v, head_dim, slot, to_k, to_v);
    } else {
      store_rows(shape.type, k, v, head_dim, slot, to_k, to_v);
    }
  }
}

}  // namespace moebox::MOEBOX_SIMD

// One panel times int8 activations: the loops around formats.h. Included by matmul.cpp only.
//
// The order of float operations is defined by fold() and fold_superblock() alone: per output one f32 accumulator,
// blocks of columns ascending. All before it is integer arithmetic, exact in any order; so tiles of tokens, threads and
// instruction sets do not change a bit.
#pragma once

#include "kernels/isa/formats.h"

namespace moebox::MOEBOX_SIMD {

/// A block of at most 128 tokens, as activations.h lays it out.
struct TokenBlock {
  const std::int8_t* q;      // (n_columns / 32, n_tokens, 32)
  const std::byte* records;  // (n_columns / 32 or / 256, n_tokens)
  int n_tokens;
};

/// Where a panel's results go: out[t * stride + row], rows < n_rows <= 32.
struct PanelOutput {
  float* out;
  std::ptrdiff_t stride;
  int n_rows;

  MOEBOX_OP void write(int token, int group, Floats value) const {
    float* p = out + token * stride + 16 * group;
    const int n = n_rows - 16 * group;
    if (n >= 16) return store(p, value);
    if (n > 0) store_first(p, value, n);
  }
};

// Bytes ahead of the stream that one token prefetches (where the layer wants it), and many.
inline constexpr std::uintptr_t prefetch_one = 2048, prefetch_one_k = 4096, prefetch_many = 4096;
// x86, many tokens: into the second cache, which has room for far more lines on their way than the first; superblocks,
// whose lines are read in pieces, from there into the first.
inline constexpr std::uintptr_t prefetch_many_far = 8192, prefetch_many_near = 3072;

template <int bytes>
MOEBOX_OP void prefetch_lines(Unit p, std::uintptr_t ahead) {
  MOEBOX_UNROLL
  for (int i = 0; i < bytes; i += 64) prefetch(p, ahead + static_cast<std::uintptr_t>(i));
}

/// Before one token computes on `bytes` of its stream. x86 processors prefetch better than software can ask for, as
/// long as they see one instruction walk the lines in order; the unrolled loads of a superblock do not look like that,
/// and blocks of 32 do.
template <int bytes, bool superblock>
MOEBOX_OP void announce_lines(Unit p) {
  if constexpr (prefetches_by_hand) {
    prefetch_lines<bytes>(p, superblock ? prefetch_one_k : prefetch_one);
  } else if constexpr (superblock) {
    MOEBOX_ROLLED
    for (int i = 0; i < bytes; i += 64) touch(p + i);
  }
}

/// Before many tokens compute on `bytes` of their stream. They are too slow for the processor's own prefetchers to run
/// ahead, and out-of-order execution does not reach the next weights.
template <int bytes, bool superblock>
MOEBOX_OP void announce_lines_of_many(Unit p) {
  if constexpr (prefetches_by_hand) {
    prefetch_lines<bytes>(p, prefetch_many);
  } else {
    MOEBOX_UNROLL
    for (int i = 0; i < bytes; i += 64) prefetch_far(p, prefetch_many_far + static_cast<std::uintptr_t>(i));
    if constexpr (superblock) prefetch_lines<bytes>(p, prefetch_many_near);
  }
}

// Accumulators of a panel for all tokens of a block: 16 KiB, in the nearest cache.
struct alignas(64) Accumulators {
  float value[activation_block_tokens * layout::rows];
};
struct alignas(64) IntAccumulators {
  std::int32_t value[activation_block_tokens * layout::rows];
};

// ---- blocks of 32 columns ----

template <class F>
MOEBOX_OP Ints start_of(const ActivationRecord32& record) {
  if constexpr (F::start == nullptr) {
    return splat_int(0);
  } else {
    return splat_int(record.*F::start);
  }
}

// |dot| <= 32 * 255 * 127 < 2^21 and |start| <= 128 * 32 * 127 < 2^20: exact as int32 and as float.
template <class F>
MOEBOX_OP Floats fold(Ints dot, Floats scale, Floats minimum, const ActivationRecord32& record, Floats sum) {
  sum = fma(to_floats(dot), mul(scale, splat(record.scale)), sum);
  if constexpr (F::has_minimum) sum = fma(minimum, splat(record.scaled_sum), sum);
  return sum;
}

template <class F>
struct Weights32 {
  Bytes w[2][8];
  Floats scale[2], minimum[2];

  MOEBOX_OP void decode(Unit unit) {
    MOEBOX_UNROLL
    for (int g = 0; g < 2; ++g) {
      F::decode(unit, g, w[g]);
      scale[g] = F::scale_of(unit, g);
      if constexpr (F::has_minimum) minimum[g] = F::minimum_of(unit, g);
    }
  }
};

template <class F, int n_tokens>
MOEBOX_OP void step32(const Weights32<F>& weights, const std::int8_t* q, const ActivationRecord32* records,
                      float* sums) {
  Ints dot[2][n_tokens];
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) dot[0][t] = dot[1][t] = start_of<F>(records[t]);
  dot_tile<F::weight_bits, 0, 8>(dot, weights.w, q, 32);
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    MOEBOX_UNROLL
    for (int g = 0; g < 2; ++g) {
      float* p = sums + 32 * t + 16 * g;
      store(p, fold<F>(dot[g][t], weights.scale[g], weights.minimum[g], records[t], load(p)));
    }
  }
}

/// Two tokens and more: the weights of 32 columns stay in registers, tokens run innermost.
template <class F>
void many_tokens32(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  Accumulators sums;
  std::memset(sums.value, 0, sizeof(float) * 32 * static_cast<std::size_t>(tokens.n_tokens));
  const std::int8_t* q = tokens.q;
  const auto* records = reinterpret_cast<const ActivationRecord32*>(tokens.records);
  for (int b = 0; b < n_blocks; ++b, unit += F::bytes) {
    Weights32<F> weights;
    weights.decode(unit);
    announce_lines_of_many<F::bytes, false>(unit);
    int t = 0;
    for (; t + matmul_tokens <= tokens.n_tokens; t += matmul_tokens) {
      step32<F, matmul_tokens>(weights, q + 32 * t, records + t, sums.value + 32 * t);
    }
    for (; t < tokens.n_tokens; ++t) step32<F, 1>(weights, q + 32 * t, records + t, sums.value + 32 * t);
    q += 32 * tokens.n_tokens;
    records += tokens.n_tokens;
  }
  for (int t = 0; t < tokens.n_tokens; ++t) {
    for (int g = 0; g < 2; ++g) output.write(t, g, load(sums.value + 32 * t + 16 * g));
  }
}

/// One token and a few: memory is read in order, accumulators stay in registers.
template <class F, int n_tokens>
void few_tokens32(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  Floats sum[2][n_tokens];
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) sum[0][t] = sum[1][t] = splat(0);
  const std::int8_t* q = tokens.q;
  const auto* records = reinterpret_cast<const ActivationRecord32*>(tokens.records);
  for (int b = 0; b < n_blocks; ++b, unit += F::bytes, q += 32 * n_tokens, records += n_tokens) {
    announce_lines<F::bytes, false>(unit);
    MOEBOX_UNROLL
    for (int g = 0; g < 2; ++g) {
      Bytes w[1][8];
      F::decode(unit, g, w[0]);
      Ints dot[1][n_tokens];
      MOEBOX_UNROLL
      for (int t = 0; t < n_tokens; ++t) dot[0][t] = start_of<F>(records[t]);
      dot_tile<F::weight_bits, 0, 8>(dot, w, q, 32);
      const Floats scale = F::scale_of(unit, g);
      Floats minimum = splat(0);
      if constexpr (F::has_minimum) minimum = F::minimum_of(unit, g);
      MOEBOX_UNROLL
      for (int t = 0; t < n_tokens; ++t) sum[g][t] = fold<F>(dot[0][t], scale, minimum, records[t], sum[g][t]);
    }
  }
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    for (int g = 0; g < 2; ++g) output.write(t, g, sum[g][t]);
  }
}

/// Few tokens run ahead by themselves where weights need little decoding.
template <class F>
void some_tokens32(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  if (tokens.n_tokens == 1) return few_tokens32<F, 1>(unit, n_blocks, tokens, output);
  if constexpr (F::bytes > 1024 && !prefetches_by_hand) {
    if (tokens.n_tokens == 2) return few_tokens32<F, 2>(unit, n_blocks, tokens, output);
    if (tokens.n_tokens == 3) return few_tokens32<F, 3>(unit, n_blocks, tokens, output);
  }
  many_tokens32<F>(unit, n_blocks, tokens, output);
}

// ---- blocks of 256 columns ----

// The integer sum over 256 columns. Largest: Q6_K, 256 * 127 * 32 * 128 = 1.4e8 < 2^31, with each dot product and start
// value of 16 columns below 16 * 127 * 63 + 32 * 16 * 127 < 2^18; Q5_K has 256 * 127 * 31 * 63 = 6.4e7; the others
// less.
template <class F, int n_groups, int n_tokens>
MOEBOX_OP void scaled_dots(const KScales (&k)[n_groups], const Bytes (&w)[n_groups][8], int index, const std::int8_t* q,
                           const ActivationRecord256* records, Ints (&sum)[n_groups][n_tokens]) {
  if constexpr (F::scales_per_32 == 1) {
    Ints dot[n_groups][n_tokens];
    MOEBOX_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      MOEBOX_UNROLL
      for (int g = 0; g < n_groups; ++g) dot[g][t] = splat_int(0);
    }
    dot_tile<F::weight_bits, 0, 8>(dot, w, q, 32);
    MOEBOX_UNROLL
    for (int g = 0; g < n_groups; ++g) {
      const Ints scale = F::scale_of(k[g], index);
      MOEBOX_UNROLL
      for (int t = 0; t < n_tokens; ++t) sum[g][t] = mul(dot[g][t], scale);
    }
  } else {
    Ints first[n_groups][n_tokens], second[n_groups][n_tokens];
    MOEBOX_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      Ints start0 = splat_int(0), start1 = start0;
      if constexpr (F::has_start) {
        start0 = shift_right<F::start_shift>(splat_int(records[t].start16_by_32[2 * index]));
        start1 = shift_right<F::start_shift>(splat_int(records[t].start16_by_32[2 * index + 1]));
      }
      MOEBOX_UNROLL
      for (int g = 0; g < n_groups; ++g) first[g][t] = start0, second[g][t] = start1;
    }
    dot_tile<F::weight_bits, 0, 4>(first, w, q, 32);
    dot_tile<F::weight_bits, 4, 4>(second, w, q, 32);
    MOEBOX_UNROLL
    for (int g = 0; g < n_groups; ++g) {
      const Ints scale0 = F::scale_of(k[g], 2 * index), scale1 = F::scale_of(k[g], 2 * index + 1);
      MOEBOX_UNROLL
      for (int t = 0; t < n_tokens; ++t) sum[g][t] = add(mul(first[g][t], scale0), mul(second[g][t], scale1));
    }
  }
}

// The sum of minimums: with 6 bits, 63 * 8 * 32 * 127 < 2^21; with 4 bits, 15 * 16 * 16 * 127 < 2^19.
template <class F>
MOEBOX_OP Floats fold_superblock(Ints sum, const KScales& k, const ActivationRecord256& record, Floats total) {
  const Floats scale = splat(record.scale);
  total = fma(to_floats(sum), mul(k.d, scale), total);
  if constexpr (F::has_minimum) {
    constexpr int n = F::minimum_registers;
    Bytes m[1][8];
    MOEBOX_UNROLL
    for (int i = 0; i < n; ++i) m[0][i] = k.minimum[i];
    Ints high[1][1] = {{splat_int(0)}}, low[1][1] = {{splat_int(0)}};
    dot_tile<6, 0, n>(high, m, n == 2 ? record.sums32_high : record.sums16_high, 0);
    dot_tile<6, 0, n>(low, m, n == 2 ? record.sums32_low : record.sums16_low, 0);
    const Ints minimums = add(shift_left<7>(high[0][0]), low[0][0]);
    total = fnma(to_floats(minimums), mul(k.d_minimum, scale), total);
  }
  return total;
}

template <class F, int n_tokens>
MOEBOX_OP void step256(const KScales (&k)[2], const Bytes (&w)[2][8], int index, const std::int8_t* q,
                       const ActivationRecord256* records, std::int32_t* sums) {
  Ints sum[2][n_tokens];
  scaled_dots<F>(k, w, index, q, records, sum);
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) {
    MOEBOX_UNROLL
    for (int g = 0; g < 2; ++g) {
      std::int32_t* p = sums + 32 * t + 16 * g;
      store_ints(p, add(load_ints(p), sum[g][t]));
    }
  }
}

template <class F>
void many_tokens256(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  Accumulators totals;
  IntAccumulators sums;
  const std::size_t used = 32 * static_cast<std::size_t>(tokens.n_tokens);
  std::memset(totals.value, 0, sizeof(float) * used);
  const std::int8_t* q = tokens.q;
  const auto* records = reinterpret_cast<const ActivationRecord256*>(tokens.records);
  constexpr int per_part = 8 / F::parts;
  for (int b = 0; b < n_blocks; ++b, unit += F::bytes) {
    std::memset(sums.value, 0, sizeof(std::int32_t) * used);
    KScales k[2];
    for (int g = 0; g < 2; ++g) F::scales_of(unit, g, k[g]);
    for (int index = 0; index < 8; ++index) {
      Bytes w[2][8];
      for (int g = 0; g < 2; ++g) F::decode(unit, g, index / per_part, index % per_part, w[g]);
      announce_lines_of_many<F::bytes / 8, true>(unit + F::bytes / 8 * index);
      int t = 0;
      for (; t + matmul_tokens <= tokens.n_tokens; t += matmul_tokens) {
        step256<F, matmul_tokens>(k, w, index, q + 32 * t, records + t, sums.value + 32 * t);
      }
      for (; t < tokens.n_tokens; ++t) step256<F, 1>(k, w, index, q + 32 * t, records + t, sums.value + 32 * t);
      q += 32 * tokens.n_tokens;
    }
    for (int t = 0; t < tokens.n_tokens; ++t) {
      for (int g = 0; g < 2; ++g) {
        float* p = totals.value + 32 * t + 16 * g;
        store(p, fold_superblock<F>(load_ints(sums.value + 32 * t + 16 * g), k[g], records[t], load(p)));
      }
    }
    records += tokens.n_tokens;
  }
  for (int t = 0; t < tokens.n_tokens; ++t) {
    for (int g = 0; g < 2; ++g) output.write(t, g, load(totals.value + 32 * t + 16 * g));
  }
}

/// One token of a format whose data lie in the order of decode_step(): the loop is so small that the same instructions
/// walk the lines in steady steps, which x86's prefetchers follow.
template <class F>
void one_token256_in_order(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  constexpr int per_part = 8 / F::parts, n_halves = F::scales_per_32, n_scales = 8 * n_halves, steps = 8 / n_halves;
  Floats total[2] = {splat(0), splat(0)};
  const std::int8_t* q = tokens.q;
  const auto* record = reinterpret_cast<const ActivationRecord256*>(tokens.records);
  alignas(64) std::int32_t scales[2][n_scales][16];
  for (int b = 0; b < n_blocks; ++b, unit += F::bytes, q += 256, ++record) {
    KScales k[2];
    Ints sum[2] = {splat_int(0), splat_int(0)};
    for (int g = 0; g < 2; ++g) {
      F::scales_of(unit, g, k[g]);
      MOEBOX_UNROLL
      for (int i = 0; i < n_scales; ++i) store_ints(scales[g][i], F::scale_of(k[g], i));
    }
    Unit p = unit + F::data;  // part, group, half and register: ascending
    MOEBOX_ROLLED
    for (int part = 0; part < F::parts; ++part) {
      MOEBOX_UNROLL
      for (int g = 0; g < 2; ++g) {
        MOEBOX_ROLLED
        for (int half = 0; half < n_halves; ++half) {
          const int first_scale = n_halves * per_part * part + half;
          const std::int8_t* a = q + 32 * per_part * part + 16 * half;
          Ints dot[per_part][1][1];
          MOEBOX_UNROLL
          for (int s = 0; s < per_part; ++s) {
            dot[s][0][0] = splat_int(F::has_start ? record->start16_by_32[first_scale + 2 * s] >> F::start_shift : 0);
          }
          MOEBOX_ROLLED
          for (int i = 0; i < steps; ++i, p += F::data_step, a += 4) {
            Bytes w[per_part][1][8];
            F::decode_step(p, w);
            MOEBOX_UNROLL
            for (int s = 0; s < per_part; ++s) dot_tile<F::weight_bits, 0, 1>(dot[s], w[s], a + 32 * s, 32);
          }
          MOEBOX_UNROLL
          for (int s = 0; s < per_part; ++s) {
            sum[g] = add(sum[g], mul(dot[s][0][0], load_ints(scales[g][first_scale + n_halves * s])));
          }
        }
      }
    }
    for (int g = 0; g < 2; ++g) total[g] = fold_superblock<F>(sum[g], k[g], *record, total[g]);
  }
  for (int g = 0; g < 2; ++g) output.write(0, g, total[g]);
}

template <class F>
void one_token256(Unit unit, int n_blocks, TokenBlock tokens, PanelOutput output) {
  if constexpr (!prefetches_by_hand && requires { F::data_step; })
    return one_token256_in_order<F>(unit, n_blocks, tokens, output);
  Floats total[2] = {splat(0), splat(0)};
  const std::int8_t* q = tokens.q;
  const auto* record = reinterpret_cast<const ActivationRecord256*>(tokens.records);
  constexpr int per_part = 8 / F::parts;
  for (int b = 0; b < n_blocks; ++b, unit += F::bytes, q += 256, ++record) {
    KScales k[2][1];
    Ints sum[2] = {splat_int(0), splat_int(0)};
    for (int g = 0; g < 2; ++g) F::scales_of(unit, g, k[g][0]);
    MOEBOX_UNROLL_PARTS
    for (int part = 0; part < F::parts; ++part) {
      MOEBOX_UNROLL
      for (int g = 0; g < 2; ++g) {
        announce_lines<F::data_group, true>(unit + F::data + F::data_part * part + F::data_group * g);
        MOEBOX_UNROLL
        for (int s = 0; s < per_part; ++s) {
          const int index = part * per_part + s;
          Bytes w[1][8];
          F::decode(unit, g, part, s, w[0]);
          Ints dot[1][1];
          scaled_dots<F>(k[g], w, index, q + 32 * index, record, dot);
          sum[g] = add(sum[g], dot[0][0]);
        }
      }
    }
    for (int g = 0; g < 2; ++g) total[g] = fold_superblock<F>(sum[g], k[g][0], *record, total[g]);
  }
  for (int g = 0; g < 2; ++g) output.write(0, g, total[g]);
}

}  // namespace moebox::MOEBOX_SIMD

// One panel of F32, F16 or BF16 weights times f32 activations. Included by matmul.cpp only.
// Per output one f32 accumulator, columns ascending, one fma each: the same bits for one token and for many.
#pragma once

#include "kernels/isa/matmul_int8.h"

namespace moebox::MOEBOX_SIMD {

struct F32 : layout::F32 {
  static MOEBOX_OP Floats load16(Unit p) { return load(reinterpret_cast<const float*>(p)); }
};
struct F16 : layout::F16 {
  static MOEBOX_OP Floats load16(Unit p) { return load_halves(p); }
};
struct BF16 : layout::BF16 {
  static MOEBOX_OP Floats load16(Unit p) { return load_bfloats(p); }
};

template <class F>
void one_token_float(Unit panel, int n_columns, const float* x, PanelOutput output) {
  Floats sum[2] = {splat(0), splat(0)};
  for (int k = 0; k < n_columns; ++k, panel += F::bytes) {
    prefetch_lines<F::bytes>(panel, prefetch_one);
    const Floats a = splat(x[k]);
    sum[0] = fma(F::load16(panel), a, sum[0]);
    sum[1] = fma(F::load16(panel + F::bytes / 2), a, sum[1]);
  }
  output.write(0, 0, sum[0]);
  output.write(0, 1, sum[1]);
}

// Columns whose weights are held as floats in the nearest cache while the tokens run past them.
inline constexpr int float_chunk_columns = 64;

struct alignas(64) FloatChunk {
  float w[float_chunk_columns * layout::rows];
};

template <int n_tokens>
MOEBOX_OP void float_tile(const FloatChunk& chunk, int columns, const float* x, std::ptrdiff_t x_stride, float* sums) {
  Floats sum[2][n_tokens];
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) sum[0][t] = load(sums + 32 * t), sum[1][t] = load(sums + 32 * t + 16);
  for (int k = 0; k < columns; ++k) {
    const Floats w0 = load(chunk.w + 32 * k), w1 = load(chunk.w + 32 * k + 16);
    MOEBOX_UNROLL
    for (int t = 0; t < n_tokens; ++t) {
      const Floats a = splat(x[t * x_stride + k]);
      sum[0][t] = fma(w0, a, sum[0][t]);
      sum[1][t] = fma(w1, a, sum[1][t]);
    }
  }
  MOEBOX_UNROLL
  for (int t = 0; t < n_tokens; ++t) store(sums + 32 * t, sum[0][t]), store(sums + 32 * t + 16, sum[1][t]);
}

template <class F>
void many_tokens_float(Unit panel, int n_columns, const float* x, int n_tokens, PanelOutput output) {
  Accumulators sums;
  FloatChunk chunk;
  std::memset(sums.value, 0, sizeof(float) * 32 * static_cast<std::size_t>(n_tokens));
  for (int first = 0; first < n_columns; first += float_chunk_columns) {
    const int columns = n_columns - first < float_chunk_columns ? n_columns - first : float_chunk_columns;
    for (int k = 0; k < columns; ++k, panel += F::bytes) {
      prefetch_lines<F::bytes>(panel, prefetch_many);
      store(chunk.w + 32 * k, F::load16(panel));
      store(chunk.w + 32 * k + 16, F::load16(panel + F::bytes / 2));
    }
    int t = 0;
    for (; t + float_tokens <= n_tokens; t += float_tokens) {
      float_tile<float_tokens>(chunk, columns, x + std::ptrdiff_t{t} * n_columns + first, n_columns,
                               sums.value + 32 * t);
    }
    for (; t < n_tokens; ++t) {
      float_tile<1>(chunk, columns, x + std::ptrdiff_t{t} * n_columns + first, n_columns, sums.value + 32 * t);
    }
  }
  for (int t = 0; t < n_tokens; ++t) {
    for (int g = 0; g < 2; ++g) output.write(t, g, load(sums.value + 32 * t + 16 * g));
  }
}

}  // namespace moebox::MOEBOX_SIMD

// Reading and writing sixteen stored values, of floats or BF16.
#pragma once

#include "kernels/isa/math.h"
#include "kernels/simd/simd.h"
#include "train/ops/isa/functions.h"

namespace moebox::train_ops::MOEBOX_SIMD {

using namespace moebox::MOEBOX_SIMD;

/// In the low 16 bits of each lane: rounded to nearest, ties to even. Infinity and NaN (quiet, as arithmetic makes
/// them) keep their upper half.
MOEBOX_OP Ints bfloat_bits(Floats a) {
  const Ints all = bits(a), odd = bit_and(shift_right_zero<16>(all), splat_int(1));
  const Ints rounded = shift_right_zero<16>(add(all, add(odd, splat_int(0x7fff))));
  return bits(select_less(a, splat(infinity), from_bits(rounded), from_bits(shift_right_zero<16>(all))));
}

MOEBOX_OP Floats read(const float* p) { return load(p); }
MOEBOX_OP Floats read(const BFloat16* p) { return load_bfloats(p); }
/// The first n lanes, n <= 16; the others are 0.
MOEBOX_OP Floats read_first(const float* p, int n) { return load_first(p, n); }
MOEBOX_OP Floats read_first(const BFloat16* p, int n) {
  std::uint16_t lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i].bits;
  return load_bfloats(lanes);
}

MOEBOX_OP void write(float* p, Floats a) { store(p, a); }
#if defined(MOEBOX_COMPILE_AVX512_BF16)
// One instruction, which takes denormal numbers for zero.
MOEBOX_OP void write(BFloat16* p, Floats a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
#else
MOEBOX_OP void write(BFloat16* p, Floats a) { store_int16(p, bfloat_bits(a)); }
#endif
MOEBOX_OP void write_first(float* p, Floats a, int n) { store_first(p, a, n); }
MOEBOX_OP void write_first(BFloat16* p, Floats a, int n) {
  std::uint16_t lanes[16];
  write(reinterpret_cast<BFloat16*>(lanes), a);
  for (int i = 0; i < n; ++i) p[i].bits = lanes[i];
}

/// Calls step(i, part) for i = 0, 16, ... with 16 lanes, and for what is left; part(p) reads there, part(p, a) writes.
struct WholePart {
  static constexpr bool whole = true;
  template <class T>
  MOEBOX_OP Floats operator()(const T* p) const {
    return read(p);
  }
  template <class T>
  MOEBOX_OP void operator()(T* p, Floats a) const {
    write(p, a);
  }
  MOEBOX_OP Floats masked(Floats a) const { return a; }
};
struct LastPart {
  static constexpr bool whole = false;
  int n;
  template <class T>
  MOEBOX_OP Floats operator()(const T* p) const {
    return read_first(p, n);
  }
  template <class T>
  MOEBOX_OP void operator()(T* p, Floats a) const {
    write_first(p, a, n);
  }
  /// 0 in the lanes that are none.
  MOEBOX_OP Floats masked(Floats a) const { return first_lanes(a, n, splat(0)); }
};

template <class Step>
MOEBOX_OP void for_lanes(std::int64_t n, Step&& step) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) step(i, WholePart{});
  if (i < n) step(i, LastPart{static_cast<int>(n - i)});
}

/// 1 / (1 + e^-x).
MOEBOX_OP Floats sigmoid(Floats x) { return div(splat(1), add(splat(1), exp(sub(splat(0), x)))); }

}  // namespace moebox::train_ops::MOEBOX_SIMD

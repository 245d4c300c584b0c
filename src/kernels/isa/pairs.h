// Two neighbouring BF16 numbers, as what lanes_rounded.cpp multiplies: one register where the processor has dot
// products of such pairs, else two registers of floats that BF16 can hold. Both add the second product first, then the
// first, and round after each: what VDPBF16PS does. That instruction takes denormal numbers for zero; there are none,
// because round_bfloat() leaves nothing between 0 and 2^-40, and sums of products of such numbers are 0 or multiples of
// 2^-94.
#pragma once

#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

inline constexpr float smallest_bfloat = 0x1p-40f;

// To 8 bits, the nearest (Veltkamp's splitting); NaN stays NaN.
MOEBOX_OP Floats nearest_bfloat(Floats x) {
  const Floats t = mul(x, splat(65537.0f));
  return sub(t, sub(t, x));
}

MOEBOX_OP Floats round_bfloat(Floats x) {
  const Floats size = maximum(x, sub(splat(0), x));
  return select_less(size, splat(smallest_bfloat), splat(0), nearest_bfloat(x));
}

MOEBOX_OP Floats round_positive_bfloat(Floats x) {
  return select_less(x, splat(smallest_bfloat), splat(0), nearest_bfloat(x));
}

#if defined(MOEBOX_COMPILE_AVX512_BF16)

using Pair = std::uint32_t;

// (16 lanes, 2)
struct Pairs {
  __m512i v;
};

MOEBOX_OP Pairs load_pairs(const Pair* p) { return {_mm512_loadu_si512(p)}; }
MOEBOX_OP void store_pairs(Pair* p, Pairs a) { _mm512_storeu_si512(p, a.v); }
// Of rounded numbers.
MOEBOX_OP Pairs pairs_of(Floats first, Floats second) {
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));  // a NaN may have low bits
  return {_mm512_ternarylogic_epi32(_mm512_srli_epi32(_mm512_castps_si512(first.v), 16), _mm512_castps_si512(second.v),
                                    high, 0xf8)};
}
MOEBOX_OP Floats firsts_of(Pairs a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16))}; }
MOEBOX_OP Floats seconds_of(Pairs a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
MOEBOX_OP Floats splat_first(const Pair* b) { return firsts_of({_mm512_set1_epi32(static_cast<int>(*b))}); }
MOEBOX_OP Floats splat_second(const Pair* b) { return seconds_of({_mm512_set1_epi32(static_cast<int>(*b))}); }
// sum += a * b, in every lane the same b.
MOEBOX_OP Floats dot(Floats sum, Pairs a, const Pair* b) {
  return {_mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)_mm512_set1_epi32(static_cast<int>(*b)))};
}
// 16 rounded numbers in a row: 8 pairs.
MOEBOX_OP void store_row(Pair* p, Floats a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(a.v), 16)));
}
// Pairs of one number of each row.
MOEBOX_OP void store_row_pairs(Pair* p, Floats first, Floats second) { store_pairs(p, pairs_of(first, second)); }

#else

struct Pair {
  float first, second;
};

struct Pairs {
  Floats first, second;
};

MOEBOX_OP Pairs load_pairs(const Pair* p) {
  const float* floats = &p->first;
  return {load(floats), load(floats + 16)};
}
MOEBOX_OP void store_pairs(Pair* p, Pairs a) {
  store(&p->first, a.first);
  store(&p->first + 16, a.second);
}
MOEBOX_OP Pairs pairs_of(Floats first, Floats second) { return {first, second}; }
MOEBOX_OP Floats firsts_of(Pairs a) { return a.first; }
MOEBOX_OP Floats seconds_of(Pairs a) { return a.second; }
MOEBOX_OP Floats splat_first(const Pair* b) { return splat(b->first); }
MOEBOX_OP Floats splat_second(const Pair* b) { return splat(b->second); }
MOEBOX_OP Floats dot(Floats sum, Pairs a, const Pair* b) {
  return fma(splat(b->first), a.first, fma(splat(b->second), a.second, sum));
}
MOEBOX_OP void store_row(Pair* p, Floats a) { store(&p->first, a); }
MOEBOX_OP void store_row_pairs(Pair* p, Floats first, Floats second) {
  interleave(first, second);
  store(&p->first, first);
  store(&p->first + 16, second);
}

#endif

}  // namespace moebox::MOEBOX_SIMD

// The SIMD layer for AVX-512 with VNNI: one register of 512 bits for 16 floats. scalar.h says what each operation
// means.
#pragma once

#include <cstdint>
#include <cstring>

#include <immintrin.h>

#define MOEBOX_SIMD avx512
#define MOEBOX_OP inline __attribute__((always_inline))

namespace moebox::avx512 {

struct Floats {
  __m512 v;
};
struct Ints {
  __m512i v;
};
struct Bytes {
  __m512i v;
};

// 32 registers: 16 of weights and 4 sums; 16 scores and 2 of K; 24 sums and 4 of V.
inline constexpr int matmul_tokens = 2;
inline constexpr int float_tokens = 8;
inline constexpr int score_queries = 8;
inline constexpr int value_queries = 4;
inline constexpr int value_vectors = 4;
inline constexpr int wide_bias = 128;
inline constexpr bool prefetches_by_hand = false;

MOEBOX_OP __mmask16 first_mask(int n) {
  return _mm512_cmplt_epi32_mask(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                 _mm512_set1_epi32(n));
}

// ---- floats: memory ----

MOEBOX_OP Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
MOEBOX_OP void store(float* p, Floats a) { _mm512_storeu_ps(p, a.v); }
MOEBOX_OP Floats load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_mask(n), p)}; }
MOEBOX_OP void store_first(float* p, Floats a, int n) { _mm512_mask_storeu_ps(p, first_mask(n), a.v); }
MOEBOX_OP Floats load_halves(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
MOEBOX_OP Floats load_bfloats(const void* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
MOEBOX_OP Floats splat_half(const void* p) {
  std::int16_t h;
  std::memcpy(&h, p, sizeof h);
  return {_mm512_cvtph_ps(_mm256_set1_epi16(h))};
}
MOEBOX_OP void store_halves(void* p, Floats a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// ---- floats: arithmetic ----

MOEBOX_OP Floats splat(float a) { return {_mm512_set1_ps(a)}; }
MOEBOX_OP Floats add(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
MOEBOX_OP Floats sub(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
MOEBOX_OP Floats mul(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
MOEBOX_OP Floats div(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
MOEBOX_OP Floats square_root(Floats a) { return {_mm512_sqrt_ps(a.v)}; }
MOEBOX_OP Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
MOEBOX_OP Floats fnma(Floats a, Floats b, Floats c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
MOEBOX_OP Floats maximum(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
MOEBOX_OP Floats select_less(Floats a, Floats b, Floats x, Floats y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
MOEBOX_OP Floats first_lanes(Floats a, int n, Floats b) { return {_mm512_mask_blend_ps(first_mask(n), b.v, a.v)}; }
MOEBOX_OP bool any_equal(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ) != 0; }
MOEBOX_OP float sum_lanes(Floats a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
MOEBOX_OP float max_lanes(Floats a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
MOEBOX_OP float first_lane(Floats a) { return _mm512_cvtss_f32(a.v); }
MOEBOX_OP void interleave(Floats& a, Floats& b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 x = _mm512_permutex2var_ps(a.v, low, b.v);
  b.v = _mm512_permutex2var_ps(a.v, high, b.v);
  a.v = x;
}
MOEBOX_OP void deinterleave(Floats& a, Floats& b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512 x = _mm512_permutex2var_ps(a.v, even, b.v);
  b.v = _mm512_permutex2var_ps(a.v, odd, b.v);
  a.v = x;
}

// ---- integers ----

MOEBOX_OP Ints load_ints(const void* p) { return {_mm512_loadu_si512(p)}; }
MOEBOX_OP void store_ints(void* p, Ints a) { _mm512_storeu_si512(p, a.v); }
MOEBOX_OP Ints splat_int(std::int32_t a) { return {_mm512_set1_epi32(a)}; }
MOEBOX_OP Ints add(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
MOEBOX_OP Ints sub(Ints a, Ints b) { return {_mm512_sub_epi32(a.v, b.v)}; }
MOEBOX_OP Ints mul(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
MOEBOX_OP Ints bit_and(Ints a, Ints b) { return {_mm512_and_si512(a.v, b.v)}; }
MOEBOX_OP Ints bit_or(Ints a, Ints b) { return {_mm512_or_si512(a.v, b.v)}; }
MOEBOX_OP Ints maximum(Ints a, Ints b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int count>
MOEBOX_OP Ints shift_left(Ints a) {
  return {_mm512_slli_epi32(a.v, count)};
}
template <int count>
MOEBOX_OP Ints shift_right(Ints a) {
  return {_mm512_srai_epi32(a.v, count)};
}
template <int count>
MOEBOX_OP Ints shift_right_zero(Ints a) {
  return {_mm512_srli_epi32(a.v, count)};
}
MOEBOX_OP Ints byte_of(Ints a, int j) {
  return {_mm512_and_si512(_mm512_srl_epi32(a.v, _mm_cvtsi32_si128(8 * j)), _mm512_set1_epi32(255))};
}
MOEBOX_OP Ints signed_byte_of(Ints a, int j) {
  return {_mm512_srai_epi32(_mm512_sll_epi32(a.v, _mm_cvtsi32_si128(24 - 8 * j)), 24)};
}
MOEBOX_OP std::int32_t sum_lanes(Ints a) { return _mm512_reduce_add_epi32(a.v); }
MOEBOX_OP std::int32_t max_lanes(Ints a) { return _mm512_reduce_max_epi32(a.v); }
MOEBOX_OP Ints widen_bytes(const void* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
MOEBOX_OP Ints widen_int8(const void* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
MOEBOX_OP void store_int8(std::int8_t* p, Ints a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
MOEBOX_OP void store_int16(void* p, Ints a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}
MOEBOX_OP Floats to_floats(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
MOEBOX_OP Ints bits(Floats a) { return {_mm512_castps_si512(a.v)}; }
MOEBOX_OP Floats from_bits(Ints a) { return {_mm512_castsi512_ps(a.v)}; }
MOEBOX_OP Ints nearest_ints(Floats a) {
  return {_mm512_cvt_roundps_epi32(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

MOEBOX_OP Floats times_power_of_two(Floats a, Floats n) { return {_mm512_scalef_ps(a.v, n.v)}; }

// ---- bytes ----

MOEBOX_OP Bytes load_bytes(const void* p) { return {_mm512_loadu_si512(p)}; }
MOEBOX_OP Bytes splat_byte(int a) { return {_mm512_set1_epi8(static_cast<char>(a))}; }
MOEBOX_OP Bytes bit_and(Bytes a, Bytes b) { return {_mm512_and_si512(a.v, b.v)}; }
MOEBOX_OP Bytes bit_or(Bytes a, Bytes b) { return {_mm512_or_si512(a.v, b.v)}; }
MOEBOX_OP Bytes or_masked(Bytes c, Bytes a, Bytes mask) { return {_mm512_ternarylogic_epi32(c.v, a.v, mask.v, 0xf8)}; }
MOEBOX_OP Bytes shift_right(Bytes a, int count) { return {_mm512_srl_epi16(a.v, _mm_cvtsi32_si128(count))}; }
MOEBOX_OP Bytes shift_left(Bytes a, int count) { return {_mm512_sll_epi16(a.v, _mm_cvtsi32_si128(count))}; }
MOEBOX_OP Bytes lookup(const std::int8_t* table, Bytes a) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), a.v)};
}
MOEBOX_OP Bytes as_bytes(Ints a) { return {a.v}; }
MOEBOX_OP Ints as_ints(Bytes a) { return {a.v}; }
MOEBOX_OP Bytes wide_operand(Bytes a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi8(static_cast<char>(0x80)))}; }

MOEBOX_OP __m512i four_bytes(const std::int8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}

template <int weight_bits, int first, int n, int n_groups, int n_tokens>
MOEBOX_OP void dot_tile(Ints (&sum)[n_groups][n_tokens], const Bytes (&w)[n_groups][8], const std::int8_t* a,
                        int stride) {
#pragma GCC unroll 8
  for (int i = first; i < first + n; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < n_tokens; ++t) {
      const __m512i v = four_bytes(a + t * stride + 4 * i);
#pragma GCC unroll 8
      for (int r = 0; r < n_groups; ++r) sum[r][t].v = _mm512_dpbusd_epi32(sum[r][t].v, w[r][i].v, v);
    }
  }
}

/// 64 products of weights below 128 and int8, and a barrier against the compiler's knowing either: for probe.cpp.
inline constexpr int probe_chains = 12;
MOEBOX_OP Ints dot_register(Ints sum, Bytes w, Bytes a) { return {_mm512_dpbusd_epi32(sum.v, w.v, a.v)}; }
MOEBOX_OP void forget(Bytes& a) { asm volatile("" : "+v"(a.v)); }
MOEBOX_OP void forget(Floats& a) { asm volatile("" : "+v"(a.v)); }

/// Reads from a line for the sake of the processor's own prefetchers.
MOEBOX_OP void touch(const std::uint8_t* p) {
  std::uint8_t value;
  asm volatile("movb %1, %0" : "=q"(value) : "m"(*p));
}
MOEBOX_OP void prefetch(const void* p, std::uintptr_t ahead) {
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) + ahead), _MM_HINT_T0);
}
/// The same, into the second cache.
MOEBOX_OP void prefetch_far(const void* p, std::uintptr_t ahead) {
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) + ahead), _MM_HINT_T1);
}

}  // namespace moebox::avx512

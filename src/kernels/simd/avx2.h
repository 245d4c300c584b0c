// The SIMD layer for AVX2 with FMA and F16C: two registers of 256 bits for 16 floats. scalar.h says what each operation
// means.
#pragma once

#include <cstdint>
#include <cstring>

#include <immintrin.h>

#define MOEBOX_SIMD avx2
#define MOEBOX_OP inline __attribute__((always_inline))

namespace moebox::avx2 {

struct Floats {
  __m256 v[2];
};
struct Ints {
  __m256i v[2];
};
struct Bytes {
  __m256i v[2];
};

// 16 registers, two to a logical one: 4 sums of two tokens, 8 scores, 8 sums of values.
inline constexpr int matmul_tokens = 2;
inline constexpr int float_tokens = 2;
inline constexpr int score_queries = 2;
inline constexpr int value_queries = 2;
inline constexpr int value_vectors = 2;
inline constexpr int wide_bias = 0;
inline constexpr bool prefetches_by_hand = false;

MOEBOX_OP __m256i first_mask(int n, int half) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8 * half), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MOEBOX_OP __m256i load256(const void* p, int half) { return _mm256_loadu_si256(static_cast<const __m256i*>(p) + half); }
MOEBOX_OP __m128i load128(const void* p, int half) { return _mm_loadu_si128(static_cast<const __m128i*>(p) + half); }

// ---- floats: memory ----

MOEBOX_OP Floats load(const float* p) { return {{_mm256_loadu_ps(p + 8 * 0), _mm256_loadu_ps(p + 8 * 1)}}; }
MOEBOX_OP void store(float* p, Floats a) {
  _mm256_storeu_ps(p + 8 * 0, a.v[0]);
  _mm256_storeu_ps(p + 8 * 1, a.v[1]);
}
MOEBOX_OP Floats load_first(const float* p, int n) {
  return {{_mm256_maskload_ps(p + 8 * 0, first_mask(n, 0)), _mm256_maskload_ps(p + 8 * 1, first_mask(n, 1))}};
}
MOEBOX_OP void store_first(float* p, Floats a, int n) {
  _mm256_maskstore_ps(p + 8 * 0, first_mask(n, 0), a.v[0]);
  _mm256_maskstore_ps(p + 8 * 1, first_mask(n, 1), a.v[1]);
}
MOEBOX_OP Floats load_halves(const void* p) {
  return {{_mm256_cvtph_ps(load128(p, 0)), _mm256_cvtph_ps(load128(p, 1))}};
}
MOEBOX_OP Floats load_bfloats(const void* p) {
  return {{_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p, 0)), 16)),
           _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p, 1)), 16))}};
}
MOEBOX_OP Floats splat_half(const void* p) {
  std::int16_t h;
  std::memcpy(&h, p, sizeof h);
  const __m256 v = _mm256_cvtph_ps(_mm_set1_epi16(h));
  return {{v, v}};
}
MOEBOX_OP void store_halves(void* p, Floats a) {
  _mm_storeu_si128(static_cast<__m128i*>(p) + 0,
                   _mm256_cvtps_ph(a.v[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(static_cast<__m128i*>(p) + 1,
                   _mm256_cvtps_ph(a.v[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// ---- floats: arithmetic ----

MOEBOX_OP Floats splat(float a) { return {{_mm256_set1_ps(a), _mm256_set1_ps(a)}}; }
MOEBOX_OP Floats add(Floats a, Floats b) { return {{_mm256_add_ps(a.v[0], b.v[0]), _mm256_add_ps(a.v[1], b.v[1])}}; }
MOEBOX_OP Floats sub(Floats a, Floats b) { return {{_mm256_sub_ps(a.v[0], b.v[0]), _mm256_sub_ps(a.v[1], b.v[1])}}; }
MOEBOX_OP Floats mul(Floats a, Floats b) { return {{_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])}}; }
MOEBOX_OP Floats div(Floats a, Floats b) { return {{_mm256_div_ps(a.v[0], b.v[0]), _mm256_div_ps(a.v[1], b.v[1])}}; }
MOEBOX_OP Floats square_root(Floats a) { return {{_mm256_sqrt_ps(a.v[0]), _mm256_sqrt_ps(a.v[1])}}; }
MOEBOX_OP Floats fma(Floats a, Floats b, Floats c) {
  return {{_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])}};
}
MOEBOX_OP Floats fnma(Floats a, Floats b, Floats c) {
  return {{_mm256_fnmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fnmadd_ps(a.v[1], b.v[1], c.v[1])}};
}
MOEBOX_OP Floats maximum(Floats a, Floats b) {
  return {{_mm256_max_ps(a.v[0], b.v[0]), _mm256_max_ps(a.v[1], b.v[1])}};
}
MOEBOX_OP Floats select_less(Floats a, Floats b, Floats x, Floats y) {
  return {{_mm256_blendv_ps(y.v[0], x.v[0], _mm256_cmp_ps(a.v[0], b.v[0], _CMP_LT_OQ)),
           _mm256_blendv_ps(y.v[1], x.v[1], _mm256_cmp_ps(a.v[1], b.v[1], _CMP_LT_OQ))}};
}
MOEBOX_OP Floats first_lanes(Floats a, int n, Floats b) {
  return {{_mm256_blendv_ps(b.v[0], a.v[0], _mm256_castsi256_ps(first_mask(n, 0))),
           _mm256_blendv_ps(b.v[1], a.v[1], _mm256_castsi256_ps(first_mask(n, 1)))}};
}
MOEBOX_OP bool any_equal(Floats a, Floats b) {
  const __m256 low = _mm256_cmp_ps(a.v[0], b.v[0], _CMP_EQ_OQ), high = _mm256_cmp_ps(a.v[1], b.v[1], _CMP_EQ_OQ);
  return _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0;
}
MOEBOX_OP float sum_lanes(Floats a) {
  const __m256 eight = _mm256_add_ps(a.v[0], a.v[1]);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
MOEBOX_OP float max_lanes(Floats a) {
  const __m256 eight = _mm256_max_ps(a.v[0], a.v[1]);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
MOEBOX_OP float first_lane(Floats a) { return _mm256_cvtss_f32(a.v[0]); }
MOEBOX_OP Floats interleave_eight(__m256 a, __m256 b) {
  const __m256 low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
  return {{_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)}};
}
MOEBOX_OP void interleave(Floats& a, Floats& b) {
  const Floats x = interleave_eight(a.v[0], b.v[0]), y = interleave_eight(a.v[1], b.v[1]);
  a = x, b = y;
}
// Lanes 0, 2 (or 1, 3) of each quarter of the two registers, put in order.
MOEBOX_OP __m256 in_order(__m256 a) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8)); }
MOEBOX_OP void deinterleave(Floats& a, Floats& b) {
  const Floats even = {
      {in_order(_mm256_shuffle_ps(a.v[0], a.v[1], 0x88)), in_order(_mm256_shuffle_ps(b.v[0], b.v[1], 0x88))}};
  const Floats odd = {
      {in_order(_mm256_shuffle_ps(a.v[0], a.v[1], 0xdd)), in_order(_mm256_shuffle_ps(b.v[0], b.v[1], 0xdd))}};
  a = even, b = odd;
}

// ---- integers ----

MOEBOX_OP Ints load_ints(const void* p) { return {{load256(p, 0), load256(p, 1)}}; }
MOEBOX_OP void store_ints(void* p, Ints a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p) + 0, a.v[0]);
  _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, a.v[1]);
}
MOEBOX_OP Ints splat_int(std::int32_t a) { return {{_mm256_set1_epi32(a), _mm256_set1_epi32(a)}}; }
MOEBOX_OP Ints add(Ints a, Ints b) { return {{_mm256_add_epi32(a.v[0], b.v[0]), _mm256_add_epi32(a.v[1], b.v[1])}}; }
MOEBOX_OP Ints sub(Ints a, Ints b) { return {{_mm256_sub_epi32(a.v[0], b.v[0]), _mm256_sub_epi32(a.v[1], b.v[1])}}; }
MOEBOX_OP Ints mul(Ints a, Ints b) {
  return {{_mm256_mullo_epi32(a.v[0], b.v[0]), _mm256_mullo_epi32(a.v[1], b.v[1])}};
}
MOEBOX_OP Ints bit_and(Ints a, Ints b) {
  return {{_mm256_and_si256(a.v[0], b.v[0]), _mm256_and_si256(a.v[1], b.v[1])}};
}
MOEBOX_OP Ints bit_or(Ints a, Ints b) { return {{_mm256_or_si256(a.v[0], b.v[0]), _mm256_or_si256(a.v[1], b.v[1])}}; }
MOEBOX_OP Ints maximum(Ints a, Ints b) {
  return {{_mm256_max_epi32(a.v[0], b.v[0]), _mm256_max_epi32(a.v[1], b.v[1])}};
}
template <int count>
MOEBOX_OP Ints shift_left(Ints a) {
  return {{_mm256_slli_epi32(a.v[0], count), _mm256_slli_epi32(a.v[1], count)}};
}
template <int count>
MOEBOX_OP Ints shift_right(Ints a) {
  return {{_mm256_srai_epi32(a.v[0], count), _mm256_srai_epi32(a.v[1], count)}};
}
template <int count>
MOEBOX_OP Ints shift_right_zero(Ints a) {
  return {{_mm256_srli_epi32(a.v[0], count), _mm256_srli_epi32(a.v[1], count)}};
}
MOEBOX_OP Ints byte_of(Ints a, int j) {
  const __m128i count = _mm_cvtsi32_si128(8 * j);
  const __m256i mask = _mm256_set1_epi32(255);
  return {{_mm256_and_si256(_mm256_srl_epi32(a.v[0], count), mask),
           _mm256_and_si256(_mm256_srl_epi32(a.v[1], count), mask)}};
}
MOEBOX_OP Ints signed_byte_of(Ints a, int j) {
  const __m128i count = _mm_cvtsi32_si128(24 - 8 * j);
  return {
      {_mm256_srai_epi32(_mm256_sll_epi32(a.v[0], count), 24), _mm256_srai_epi32(_mm256_sll_epi32(a.v[1], count), 24)}};
}
MOEBOX_OP std::int32_t sum_lanes(Ints a) {
  const __m256i eight = _mm256_add_epi32(a.v[0], a.v[1]);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
MOEBOX_OP std::int32_t max_lanes(Ints a) {
  const __m256i eight = _mm256_max_epi32(a.v[0], a.v[1]);
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
MOEBOX_OP Ints widen_bytes(const void* p) {
  const __m128i bytes = load128(p, 0);
  return {{_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))}};
}
MOEBOX_OP Ints widen_int8(const void* p) {
  const __m128i bytes = load128(p, 0);
  return {{_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))}};
}
MOEBOX_OP void store_int8(std::int8_t* p, Ints a) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.v[0], a.v[1]), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
MOEBOX_OP void store_int16(void* p, Ints a) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(a.v[0], low), _mm256_and_si256(a.v[1], low));
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
MOEBOX_OP Floats to_floats(Ints a) { return {{_mm256_cvtepi32_ps(a.v[0]), _mm256_cvtepi32_ps(a.v[1])}}; }
MOEBOX_OP Ints bits(Floats a) { return {{_mm256_castps_si256(a.v[0]), _mm256_castps_si256(a.v[1])}}; }
MOEBOX_OP Floats from_bits(Ints a) { return {{_mm256_castsi256_ps(a.v[0]), _mm256_castsi256_ps(a.v[1])}}; }
MOEBOX_OP __m256i nearest_eight(__m256 a) {
  return _mm256_cvtps_epi32(_mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
MOEBOX_OP Ints nearest_ints(Floats a) { return {{nearest_eight(a.v[0]), nearest_eight(a.v[1])}}; }

/// a * 2^n for integers n of -125 .. 128 and a of 0.5 .. 2, in two steps because floats have no 2^128.
MOEBOX_OP Floats times_power_of_two(Floats a, Floats n) {
  return mul(mul(a, from_bits(shift_left<23>(add(nearest_ints(n), splat_int(126))))), splat(2));
}

// ---- bytes ----

MOEBOX_OP Bytes load_bytes(const void* p) { return {{load256(p, 0), load256(p, 1)}}; }
MOEBOX_OP Bytes splat_byte(int a) {
  const __m256i v = _mm256_set1_epi8(static_cast<char>(a));
  return {{v, v}};
}
MOEBOX_OP Bytes bit_and(Bytes a, Bytes b) {
  return {{_mm256_and_si256(a.v[0], b.v[0]), _mm256_and_si256(a.v[1], b.v[1])}};
}
MOEBOX_OP Bytes bit_or(Bytes a, Bytes b) {
  return {{_mm256_or_si256(a.v[0], b.v[0]), _mm256_or_si256(a.v[1], b.v[1])}};
}
MOEBOX_OP Bytes or_masked(Bytes c, Bytes a, Bytes mask) { return bit_or(c, bit_and(a, mask)); }
MOEBOX_OP Bytes shift_right(Bytes a, int count) {
  const __m128i n = _mm_cvtsi32_si128(count);
  return {{_mm256_srl_epi16(a.v[0], n), _mm256_srl_epi16(a.v[1], n)}};
}
MOEBOX_OP Bytes shift_left(Bytes a, int count) {
  const __m128i n = _mm_cvtsi32_si128(count);
  return {{_mm256_sll_epi16(a.v[0], n), _mm256_sll_epi16(a.v[1], n)}};
}
MOEBOX_OP Bytes lookup(const std::int8_t* table, Bytes a) {
  const __m256i t = _mm256_broadcastsi128_si256(load128(table, 0));
  return {{_mm256_shuffle_epi8(t, a.v[0]), _mm256_shuffle_epi8(t, a.v[1])}};
}
MOEBOX_OP Bytes as_bytes(Ints a) { return {{a.v[0], a.v[1]}}; }
MOEBOX_OP Ints as_ints(Bytes a) { return {{a.v[0], a.v[1]}}; }
MOEBOX_OP Bytes wide_operand(Bytes a) { return a; }

MOEBOX_OP __m256i four_bytes(const std::int8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, sizeof v);
  return _mm256_set1_epi32(v);
}

// Products of weights and int8 in pairs as int16: unsigned weights as they are, signed ones as |w| * (a with the sign
// of w).
template <int weight_bits>
MOEBOX_OP __m256i pair_products(__m256i w, __m256i a) {
  if constexpr (weight_bits == 8) return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
  return _mm256_maddubs_epi16(w, a);
}

// How many of these int16 add up without overflow: a pair is at most 2 * 127 * (2^bits - 1), or 2 * 127 * 128 for
// signed weights; 8 pairs of 4 bits make 30480, 4 of 5 bits 31496, 2 of 6 bits 32004, one of signed weights 32512.
inline constexpr int pairs_in_a_run(int weight_bits) {
  return weight_bits <= 4 ? 8 : weight_bits == 5 ? 4 : weight_bits == 6 ? 2 : 1;
}

template <int weight_bits, int first, int n, int n_groups, int n_tokens>
MOEBOX_OP void dot_tile(Ints (&sum)[n_groups][n_tokens], const Bytes (&w)[n_groups][8], const std::int8_t* a,
                        int stride) {
  constexpr int run = pairs_in_a_run(weight_bits);
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int start = first; start < first + n; start += run) {
    constexpr int steps = run < n ? run : n;
    __m256i words[n_groups][n_tokens][2];
#pragma GCC unroll 8
    for (int i = start; i < start + steps; ++i) {
#pragma GCC unroll 8
      for (int t = 0; t < n_tokens; ++t) {
        const __m256i v = four_bytes(a + t * stride + 4 * i);
#pragma GCC unroll 8
        for (int r = 0; r < n_groups; ++r) {
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const __m256i products = pair_products<weight_bits>(w[r][i].v[half], v);
            words[r][t][half] = i == start ? products : _mm256_add_epi16(words[r][t][half], products);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < n_tokens; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < n_groups; ++r) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          sum[r][t].v[half] = _mm256_add_epi32(sum[r][t].v[half], _mm256_madd_epi16(words[r][t][half], ones));
        }
      }
    }
  }
}

/// 64 products of weights below 128 and int8, and a barrier against the compiler's knowing either: for probe.cpp.
inline constexpr int probe_chains = 5;
MOEBOX_OP __m256i dot_half(__m256i sum, __m256i w, __m256i a) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1)));
}
MOEBOX_OP Ints dot_register(Ints sum, Bytes w, Bytes a) {
  return {{dot_half(sum.v[0], w.v[0], a.v[0]), dot_half(sum.v[1], w.v[1], a.v[1])}};
}
MOEBOX_OP void forget(Bytes& a) { asm volatile("" : "+x"(a.v[0]), "+x"(a.v[1])); }
MOEBOX_OP void forget(Floats& a) { asm volatile("" : "+x"(a.v[0]), "+x"(a.v[1])); }

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

}  // namespace moebox::avx2

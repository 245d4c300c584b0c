// The SIMD layer for ARM64's NEON: four registers of 128 bits for 16 floats, with or without the dot product
// instructions (FEAT_DotProd). scalar.h says what each operation means.
#pragma once

#include <cstdint>
#include <cstring>

#include <arm_neon.h>

#if defined(MOEBOX_COMPILE_NEON_DOTPROD)
#define MOEBOX_SIMD neon_dotprod
#else
#define MOEBOX_SIMD neon
#endif
#define MOEBOX_OP inline __attribute__((always_inline))

namespace moebox::MOEBOX_SIMD {

struct Floats {
  float32x4_t v[4];
};
struct Ints {
  int32x4_t v[4];
};
struct Bytes {
  uint8x16_t v[4];
};

// 32 registers, four to a logical one: 16 of sums, or 8 of scores and 2 of K, ...
#if defined(MOEBOX_COMPILE_NEON_DOTPROD)
inline constexpr int matmul_tokens = 2;
#else
inline constexpr int matmul_tokens = 1;  // sums of int16 take twice the registers
#endif
inline constexpr int float_tokens = 2;
inline constexpr int score_queries = 2;
inline constexpr int value_queries = 2;
inline constexpr int value_vectors = 2;
inline constexpr int wide_bias = 0;
inline constexpr bool prefetches_by_hand = true;

MOEBOX_OP uint32x4_t first_mask(int n, int quarter) {
  const int32_t lanes[4] = {0, 1, 2, 3};
  return vcltq_s32(vld1q_s32(lanes), vdupq_n_s32(n - 4 * quarter));
}

// ---- floats: memory ----

MOEBOX_OP Floats load(const float* p) {
  return {{vld1q_f32(p + 4 * 0), vld1q_f32(p + 4 * 1), vld1q_f32(p + 4 * 2), vld1q_f32(p + 4 * 3)}};
}
MOEBOX_OP void store(float* p, Floats a) {
  vst1q_f32(p + 4 * 0, a.v[0]);
  vst1q_f32(p + 4 * 1, a.v[1]);
  vst1q_f32(p + 4 * 2, a.v[2]);
  vst1q_f32(p + 4 * 3, a.v[3]);
}
MOEBOX_OP Floats load_first(const float* p, int n) {
  float lanes[16] = {};
  if (n > 0) std::memcpy(lanes, p, sizeof(float) * static_cast<std::size_t>(n < 16 ? n : 16));
  return load(lanes);
}
MOEBOX_OP void store_first(float* p, Floats a, int n) {
  float lanes[16];
  store(lanes, a);
  if (n > 0) std::memcpy(p, lanes, sizeof(float) * static_cast<std::size_t>(n < 16 ? n : 16));
}
MOEBOX_OP uint16x4_t load_four_halves(const void* p, int index) {
  uint16x4_t r;
  std::memcpy(&r, static_cast<const char*>(p) + 8 * index, sizeof r);
  return r;
}
MOEBOX_OP void store_four_halves(void* p, int index, float16x4_t a) {
  std::memcpy(static_cast<char*>(p) + 8 * index, &a, sizeof a);
}
MOEBOX_OP Floats load_halves(const void* p) {
  return {{vcvt_f32_f16(vreinterpret_f16_u16(load_four_halves(p, 0))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_four_halves(p, 1))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_four_halves(p, 2))),
           vcvt_f32_f16(vreinterpret_f16_u16(load_four_halves(p, 3)))}};
}
MOEBOX_OP Floats load_bfloats(const void* p) {
  return {{vreinterpretq_f32_u32(vshll_n_u16(load_four_halves(p, 0), 16)),
           vreinterpretq_f32_u32(vshll_n_u16(load_four_halves(p, 1), 16)),
           vreinterpretq_f32_u32(vshll_n_u16(load_four_halves(p, 2), 16)),
           vreinterpretq_f32_u32(vshll_n_u16(load_four_halves(p, 3), 16))}};
}
MOEBOX_OP Floats splat_half(const void* p) {
  std::uint16_t h;
  std::memcpy(&h, p, sizeof h);
  const float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h)));
  return {{v, v, v, v}};
}
MOEBOX_OP void store_halves(void* p, Floats a) {
  store_four_halves(p, 0, vcvt_f16_f32(a.v[0]));
  store_four_halves(p, 1, vcvt_f16_f32(a.v[1]));
  store_four_halves(p, 2, vcvt_f16_f32(a.v[2]));
  store_four_halves(p, 3, vcvt_f16_f32(a.v[3]));
}

// ---- floats: arithmetic ----

MOEBOX_OP Floats splat(float a) {
  const float32x4_t v = vdupq_n_f32(a);
  return {{v, v, v, v}};
}
MOEBOX_OP Floats add(Floats a, Floats b) {
  return {{vaddq_f32(a.v[0], b.v[0]), vaddq_f32(a.v[1], b.v[1]), vaddq_f32(a.v[2], b.v[2]), vaddq_f32(a.v[3], b.v[3])}};
}
MOEBOX_OP Floats sub(Floats a, Floats b) {
  return {{vsubq_f32(a.v[0], b.v[0]), vsubq_f32(a.v[1], b.v[1]), vsubq_f32(a.v[2], b.v[2]), vsubq_f32(a.v[3], b.v[3])}};
}
MOEBOX_OP Floats mul(Floats a, Floats b) {
  return {{vmulq_f32(a.v[0], b.v[0]), vmulq_f32(a.v[1], b.v[1]), vmulq_f32(a.v[2], b.v[2]), vmulq_f32(a.v[3], b.v[3])}};
}
MOEBOX_OP Floats div(Floats a, Floats b) {
  return {{vdivq_f32(a.v[0], b.v[0]), vdivq_f32(a.v[1], b.v[1]), vdivq_f32(a.v[2], b.v[2]), vdivq_f32(a.v[3], b.v[3])}};
}
MOEBOX_OP Floats square_root(Floats a) {
  return {{vsqrtq_f32(a.v[0]), vsqrtq_f32(a.v[1]), vsqrtq_f32(a.v[2]), vsqrtq_f32(a.v[3])}};
}
MOEBOX_OP Floats fma(Floats a, Floats b, Floats c) {
  return {{vfmaq_f32(c.v[0], a.v[0], b.v[0]), vfmaq_f32(c.v[1], a.v[1], b.v[1]), vfmaq_f32(c.v[2], a.v[2], b.v[2]),
           vfmaq_f32(c.v[3], a.v[3], b.v[3])}};
}
MOEBOX_OP Floats fnma(Floats a, Floats b, Floats c) {
  return {{vfmsq_f32(c.v[0], a.v[0], b.v[0]), vfmsq_f32(c.v[1], a.v[1], b.v[1]), vfmsq_f32(c.v[2], a.v[2], b.v[2]),
           vfmsq_f32(c.v[3], a.v[3], b.v[3])}};
}
MOEBOX_OP Floats maximum(Floats a, Floats b) {
  return {{vbslq_f32(vcgtq_f32(a.v[0], b.v[0]), a.v[0], b.v[0]), vbslq_f32(vcgtq_f32(a.v[1], b.v[1]), a.v[1], b.v[1]),
           vbslq_f32(vcgtq_f32(a.v[2], b.v[2]), a.v[2], b.v[2]), vbslq_f32(vcgtq_f32(a.v[3], b.v[3]), a.v[3], b.v[3])}};
}
MOEBOX_OP Floats select_less(Floats a, Floats b, Floats x, Floats y) {
  return {{vbslq_f32(vcltq_f32(a.v[0], b.v[0]), x.v[0], y.v[0]), vbslq_f32(vcltq_f32(a.v[1], b.v[1]), x.v[1], y.v[1]),
           vbslq_f32(vcltq_f32(a.v[2], b.v[2]), x.v[2], y.v[2]), vbslq_f32(vcltq_f32(a.v[3], b.v[3]), x.v[3], y.v[3])}};
}
MOEBOX_OP Floats first_lanes(Floats a, int n, Floats b) {
  return {{vbslq_f32(first_mask(n, 0), a.v[0], b.v[0]), vbslq_f32(first_mask(n, 1), a.v[1], b.v[1]),
           vbslq_f32(first_mask(n, 2), a.v[2], b.v[2]), vbslq_f32(first_mask(n, 3), a.v[3], b.v[3])}};
}
MOEBOX_OP bool any_equal(Floats a, Floats b) {
  const uint32x4_t low = vorrq_u32(vceqq_f32(a.v[0], b.v[0]), vceqq_f32(a.v[1], b.v[1]));
  const uint32x4_t high = vorrq_u32(vceqq_f32(a.v[2], b.v[2]), vceqq_f32(a.v[3], b.v[3]));
  return vmaxvq_u32(vorrq_u32(low, high)) != 0;
}
MOEBOX_OP float sum_lanes(Floats a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
MOEBOX_OP float32x4_t larger(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
MOEBOX_OP float max_lanes(Floats a) {
  const float32x4_t four = larger(larger(a.v[0], a.v[2]), larger(a.v[1], a.v[3]));
  const float32x2_t low = vget_low_f32(four), high = vget_high_f32(four);
  const float32x2_t two = vbsl_f32(vcgt_f32(low, high), low, high);
  const float x = vget_lane_f32(two, 0), y = vget_lane_f32(two, 1);
  return x > y ? x : y;
}
MOEBOX_OP float first_lane(Floats a) { return vgetq_lane_f32(a.v[0], 0); }
MOEBOX_OP void interleave(Floats& a, Floats& b) {
  const Floats x = {
      {vzip1q_f32(a.v[0], b.v[0]), vzip2q_f32(a.v[0], b.v[0]), vzip1q_f32(a.v[1], b.v[1]), vzip2q_f32(a.v[1], b.v[1])}};
  const Floats y = {
      {vzip1q_f32(a.v[2], b.v[2]), vzip2q_f32(a.v[2], b.v[2]), vzip1q_f32(a.v[3], b.v[3]), vzip2q_f32(a.v[3], b.v[3])}};
  a = x, b = y;
}
MOEBOX_OP void deinterleave(Floats& a, Floats& b) {
  const Floats even = {
      {vuzp1q_f32(a.v[0], a.v[1]), vuzp1q_f32(a.v[2], a.v[3]), vuzp1q_f32(b.v[0], b.v[1]), vuzp1q_f32(b.v[2], b.v[3])}};
  const Floats odd = {
      {vuzp2q_f32(a.v[0], a.v[1]), vuzp2q_f32(a.v[2], a.v[3]), vuzp2q_f32(b.v[0], b.v[1]), vuzp2q_f32(b.v[2], b.v[3])}};
  a = even, b = odd;
}

// ---- integers ----

MOEBOX_OP uint8x16_t load_sixteen_bytes(const void* p, int index) {
  return vld1q_u8(static_cast<const std::uint8_t*>(p) + 16 * index);
}
MOEBOX_OP Ints load_ints(const void* p) {
  return {{vreinterpretq_s32_u8(load_sixteen_bytes(p, 0)), vreinterpretq_s32_u8(load_sixteen_bytes(p, 1)),
           vreinterpretq_s32_u8(load_sixteen_bytes(p, 2)), vreinterpretq_s32_u8(load_sixteen_bytes(p, 3))}};
}
MOEBOX_OP void store_ints(void* p, Ints a) {
  vst1q_u8(static_cast<std::uint8_t*>(p) + 16 * 0, vreinterpretq_u8_s32(a.v[0]));
  vst1q_u8(static_cast<std::uint8_t*>(p) + 16 * 1, vreinterpretq_u8_s32(a.v[1]));
  vst1q_u8(static_cast<std::uint8_t*>(p) + 16 * 2, vreinterpretq_u8_s32(a.v[2]));
  vst1q_u8(static_cast<std::uint8_t*>(p) + 16 * 3, vreinterpretq_u8_s32(a.v[3]));
}
MOEBOX_OP Ints splat_int(std::int32_t a) {
  const int32x4_t v = vdupq_n_s32(a);
  return {{v, v, v, v}};
}
MOEBOX_OP Ints add(Ints a, Ints b) {
  return {{vaddq_s32(a.v[0], b.v[0]), vaddq_s32(a.v[1], b.v[1]), vaddq_s32(a.v[2], b.v[2]), vaddq_s32(a.v[3], b.v[3])}};
}
MOEBOX_OP Ints sub(Ints a, Ints b) {
  return {{vsubq_s32(a.v[0], b.v[0]), vsubq_s32(a.v[1], b.v[1]), vsubq_s32(a.v[2], b.v[2]), vsubq_s32(a.v[3], b.v[3])}};
}
MOEBOX_OP Ints mul(Ints a, Ints b) {
  return {{vmulq_s32(a.v[0], b.v[0]), vmulq_s32(a.v[1], b.v[1]), vmulq_s32(a.v[2], b.v[2]), vmulq_s32(a.v[3], b.v[3])}};
}
MOEBOX_OP Ints bit_and(Ints a, Ints b) {
  return {{vandq_s32(a.v[0], b.v[0]), vandq_s32(a.v[1], b.v[1]), vandq_s32(a.v[2], b.v[2]), vandq_s32(a.v[3], b.v[3])}};
}
MOEBOX_OP Ints bit_or(Ints a, Ints b) {
  return {{vorrq_s32(a.v[0], b.v[0]), vorrq_s32(a.v[1], b.v[1]), vorrq_s32(a.v[2], b.v[2]), vorrq_s32(a.v[3], b.v[3])}};
}
MOEBOX_OP Ints maximum(Ints a, Ints b) {
  return {{vmaxq_s32(a.v[0], b.v[0]), vmaxq_s32(a.v[1], b.v[1]), vmaxq_s32(a.v[2], b.v[2]), vmaxq_s32(a.v[3], b.v[3])}};
}
template <int count>
MOEBOX_OP Ints shift_left(Ints a) {
  return {{vshlq_s32(a.v[0], vdupq_n_s32(count)), vshlq_s32(a.v[1], vdupq_n_s32(count)),
           vshlq_s32(a.v[2], vdupq_n_s32(count)), vshlq_s32(a.v[3], vdupq_n_s32(count))}};
}
template <int count>
MOEBOX_OP Ints shift_right(Ints a) {
  return {{vshlq_s32(a.v[0], vdupq_n_s32(-count)), vshlq_s32(a.v[1], vdupq_n_s32(-count)),
           vshlq_s32(a.v[2], vdupq_n_s32(-count)), vshlq_s32(a.v[3], vdupq_n_s32(-count))}};
}
MOEBOX_OP int32x4_t shift_zero(int32x4_t a, int count) {
  return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-count)));
}
template <int count>
MOEBOX_OP Ints shift_right_zero(Ints a) {
  return {{shift_zero(a.v[0], count), shift_zero(a.v[1], count), shift_zero(a.v[2], count), shift_zero(a.v[3], count)}};
}
MOEBOX_OP Ints byte_of(Ints a, int j) {
  return {
      {vandq_s32(shift_zero(a.v[0], 8 * j), vdupq_n_s32(255)), vandq_s32(shift_zero(a.v[1], 8 * j), vdupq_n_s32(255)),
       vandq_s32(shift_zero(a.v[2], 8 * j), vdupq_n_s32(255)), vandq_s32(shift_zero(a.v[3], 8 * j), vdupq_n_s32(255))}};
}
MOEBOX_OP Ints signed_byte_of(Ints a, int j) {
  return {{vshrq_n_s32(vshlq_s32(a.v[0], vdupq_n_s32(24 - 8 * j)), 24),
           vshrq_n_s32(vshlq_s32(a.v[1], vdupq_n_s32(24 - 8 * j)), 24),
           vshrq_n_s32(vshlq_s32(a.v[2], vdupq_n_s32(24 - 8 * j)), 24),
           vshrq_n_s32(vshlq_s32(a.v[3], vdupq_n_s32(24 - 8 * j)), 24)}};
}
MOEBOX_OP std::int32_t sum_lanes(Ints a) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
}
MOEBOX_OP std::int32_t max_lanes(Ints a) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(a.v[0], a.v[1]), vmaxq_s32(a.v[2], a.v[3])));
}
MOEBOX_OP int32x4_t widen_four(uint16x4_t a) { return vreinterpretq_s32_u32(vmovl_u16(a)); }
MOEBOX_OP Ints widen_bytes(const void* p) {
  const uint8x16_t bytes = load_sixteen_bytes(p, 0);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return {{widen_four(vget_low_u16(low)), widen_four(vget_high_u16(low)), widen_four(vget_low_u16(high)),
           widen_four(vget_high_u16(high))}};
}
MOEBOX_OP Ints widen_int8(const void* p) {
  const int8x16_t bytes = vreinterpretq_s8_u8(load_sixteen_bytes(p, 0));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return {{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
           vmovl_s16(vget_high_s16(high))}};
}
MOEBOX_OP void store_int8(std::int8_t* p, Ints a) {
  const int16x8_t low = vcombine_s16(vmovn_s32(a.v[0]), vmovn_s32(a.v[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(a.v[2]), vmovn_s32(a.v[3]));
  vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
MOEBOX_OP void store_int16(void* p, Ints a) {
  const int16x4_t quarters[4] = {vmovn_s32(a.v[0]), vmovn_s32(a.v[1]), vmovn_s32(a.v[2]), vmovn_s32(a.v[3])};
  std::memcpy(p, quarters, sizeof quarters);
}
MOEBOX_OP Floats to_floats(Ints a) {
  return {{vcvtq_f32_s32(a.v[0]), vcvtq_f32_s32(a.v[1]), vcvtq_f32_s32(a.v[2]), vcvtq_f32_s32(a.v[3])}};
}
MOEBOX_OP Ints bits(Floats a) {
  return {{vreinterpretq_s32_f32(a.v[0]), vreinterpretq_s32_f32(a.v[1]), vreinterpretq_s32_f32(a.v[2]),
           vreinterpretq_s32_f32(a.v[3])}};
}
MOEBOX_OP Floats from_bits(Ints a) {
  return {{vreinterpretq_f32_s32(a.v[0]), vreinterpretq_f32_s32(a.v[1]), vreinterpretq_f32_s32(a.v[2]),
           vreinterpretq_f32_s32(a.v[3])}};
}
MOEBOX_OP Ints nearest_ints(Floats a) {
  return {{vcvtnq_s32_f32(a.v[0]), vcvtnq_s32_f32(a.v[1]), vcvtnq_s32_f32(a.v[2]), vcvtnq_s32_f32(a.v[3])}};
}

/// a * 2^n for integers n of -125 .. 128 and a of 0.5 .. 2, in two steps because floats have no 2^128.
MOEBOX_OP Floats times_power_of_two(Floats a, Floats n) {
  return mul(mul(a, from_bits(shift_left<23>(add(nearest_ints(n), splat_int(126))))), splat(2));
}

// ---- bytes ----

MOEBOX_OP Bytes load_bytes(const void* p) {
  return {{load_sixteen_bytes(p, 0), load_sixteen_bytes(p, 1), load_sixteen_bytes(p, 2), load_sixteen_bytes(p, 3)}};
}
MOEBOX_OP Bytes splat_byte(int a) {
  const uint8x16_t v = vdupq_n_u8(static_cast<std::uint8_t>(a));
  return {{v, v, v, v}};
}
MOEBOX_OP Bytes bit_and(Bytes a, Bytes b) {
  return {{vandq_u8(a.v[0], b.v[0]), vandq_u8(a.v[1], b.v[1]), vandq_u8(a.v[2], b.v[2]), vandq_u8(a.v[3], b.v[3])}};
}
MOEBOX_OP Bytes bit_or(Bytes a, Bytes b) {
  return {{vorrq_u8(a.v[0], b.v[0]), vorrq_u8(a.v[1], b.v[1]), vorrq_u8(a.v[2], b.v[2]), vorrq_u8(a.v[3], b.v[3])}};
}
MOEBOX_OP Bytes or_masked(Bytes c, Bytes a, Bytes mask) { return bit_or(c, bit_and(a, mask)); }
MOEBOX_OP uint8x16_t shift_words(uint8x16_t a, int left) {
  return vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(a), vdupq_n_s16(static_cast<std::int16_t>(left))));
}
MOEBOX_OP Bytes shift_right(Bytes a, int count) {
  return {{shift_words(a.v[0], -count), shift_words(a.v[1], -count), shift_words(a.v[2], -count),
           shift_words(a.v[3], -count)}};
}
MOEBOX_OP Bytes shift_left(Bytes a, int count) {
  return {
      {shift_words(a.v[0], count), shift_words(a.v[1], count), shift_words(a.v[2], count), shift_words(a.v[3], count)}};
}
MOEBOX_OP Bytes lookup(const std::int8_t* table, Bytes a) {
  const uint8x16_t t = load_sixteen_bytes(table, 0);
  return {{vqtbl1q_u8(t, a.v[0]), vqtbl1q_u8(t, a.v[1]), vqtbl1q_u8(t, a.v[2]), vqtbl1q_u8(t, a.v[3])}};
}
MOEBOX_OP Bytes as_bytes(Ints a) {
  return {{vreinterpretq_u8_s32(a.v[0]), vreinterpretq_u8_s32(a.v[1]), vreinterpretq_u8_s32(a.v[2]),
           vreinterpretq_u8_s32(a.v[3])}};
}
MOEBOX_OP Ints as_ints(Bytes a) {
  return {{vreinterpretq_s32_u8(a.v[0]), vreinterpretq_s32_u8(a.v[1]), vreinterpretq_s32_u8(a.v[2]),
           vreinterpretq_s32_u8(a.v[3])}};
}
MOEBOX_OP Bytes wide_operand(Bytes a) { return a; }

MOEBOX_OP int8x16_t four_bytes(const std::int8_t* p) {
  std::int32_t v;
  std::memcpy(&v, p, sizeof v);
  return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

// Both operands are signed here: weights below 128 are so as they are.
#if defined(MOEBOX_COMPILE_NEON_DOTPROD)

template <int weight_bits, int first, int n, int n_groups, int n_tokens>
MOEBOX_OP void dot_tile(Ints (&sum)[n_groups][n_tokens], const Bytes (&w)[n_groups][8], const std::int8_t* a,
                        int stride) {
#pragma GCC unroll 8
  for (int i = first; i < first + n; ++i) {
#pragma GCC unroll 8
    for (int t = 0; t < n_tokens; ++t) {
      const int8x16_t v = four_bytes(a + t * stride + 4 * i);
#pragma GCC unroll 8
      for (int r = 0; r < n_groups; ++r) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[r][t].v[q] = vdotq_s32(sum[r][t].v[q], vreinterpretq_s8_u8(w[r][i].v[q]), v);
      }
    }
  }
}

MOEBOX_OP int32x4_t dot_quarter(int32x4_t sum, uint8x16_t w, uint8x16_t a) {
  return vdotq_s32(sum, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(a));
}

#else

// How many products of a lane add up in int16 without overflow: 8 of 5 bits make 8 * 31 * 127 = 31496, 4 of 6 bits
// 32004, 2 of signed weights 2 * 128 * 127 = 32512.
inline constexpr int products_in_a_run(int weight_bits) { return weight_bits <= 5 ? 8 : weight_bits == 6 ? 4 : 2; }

// Eight products a row pair in each, still apart: four of a row side by side.
struct Products {
  int16x8_t low, high;
};

MOEBOX_OP Products products(int8x16_t w, int8x16_t a) {
  return {vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_s8(vget_high_s8(w), vget_high_s8(a))};
}
MOEBOX_OP Products accumulate(Products p, int8x16_t w, int8x16_t a) {
  return {vmlal_s8(p.low, vget_low_s8(w), vget_low_s8(a)), vmlal_s8(p.high, vget_high_s8(w), vget_high_s8(a))};
}

MOEBOX_OP int32x4_t add_rows(int32x4_t sum, Products p) {
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(p.low), vpaddlq_s16(p.high)));
}

template <int weight_bits, int first, int n, int n_groups, int n_tokens>
MOEBOX_OP void dot_tile(Ints (&sum)[n_groups][n_tokens], const Bytes (&w)[n_groups][8], const std::int8_t* a,
                        int stride) {
  constexpr int run = products_in_a_run(weight_bits) < n ? products_in_a_run(weight_bits) : n;
#pragma GCC unroll 8
  for (int start = first; start < first + n; start += run) {
#pragma GCC unroll 8
    for (int r = 0; r < n_groups; ++r) {
      Products p[n_tokens][4];
#pragma GCC unroll 8
      for (int i = start; i < start + run; ++i) {
#pragma GCC unroll 8
        for (int t = 0; t < n_tokens; ++t) {
          const int8x16_t v = four_bytes(a + t * stride + 4 * i);
#pragma GCC unroll 4
          for (int q = 0; q < 4; ++q) {
            const int8x16_t weights = vreinterpretq_s8_u8(w[r][i].v[q]);
            p[t][q] = i == start ? products(weights, v) : accumulate(p[t][q], weights, v);
          }
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < n_tokens; ++t) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[r][t].v[q] = add_rows(sum[r][t].v[q], p[t][q]);
      }
    }
  }
}

MOEBOX_OP int32x4_t dot_quarter(int32x4_t sum, uint8x16_t w, uint8x16_t a) {
  return add_rows(sum, products(vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(a)));
}

#endif

/// 64 products of weights below 128 and int8, and a barrier against the compiler's knowing either: for probe.cpp.
inline constexpr int probe_chains = 5;
MOEBOX_OP Ints dot_register(Ints sum, Bytes w, Bytes a) {
  return {{dot_quarter(sum.v[0], w.v[0], a.v[0]), dot_quarter(sum.v[1], w.v[1], a.v[1]),
           dot_quarter(sum.v[2], w.v[2], a.v[2]), dot_quarter(sum.v[3], w.v[3], a.v[3])}};
}
MOEBOX_OP void forget(Bytes& a) { asm volatile("" : "+w"(a.v[0]), "+w"(a.v[1]), "+w"(a.v[2]), "+w"(a.v[3])); }
MOEBOX_OP void forget(Floats& a) { asm volatile("" : "+w"(a.v[0]), "+w"(a.v[1]), "+w"(a.v[2]), "+w"(a.v[3])); }

MOEBOX_OP void touch(const std::uint8_t*) {}
MOEBOX_OP void prefetch(const void* p, std::uintptr_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + ahead));
}
MOEBOX_OP void prefetch_far(const void* p, std::uintptr_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + ahead), 0, 2);
}

}  // namespace moebox::MOEBOX_SIMD

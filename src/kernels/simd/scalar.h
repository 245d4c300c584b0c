// The portable SIMD layer: what the operations of every layer mean, as plain loops over 16 lanes.
//
// Each instruction set has a header with these types and functions; the algorithms in isa/ are compiled once against
// each. The logical width is 16 floats everywhere, and every operation is exact or rounds once, so all layers give the
// same bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/float_types.h"

#define MOEBOX_SIMD scalar

namespace moebox::scalar {

/// 16 floats; 16 int32; 64 bytes, which are 4 columns of 16 rows.
struct Floats {
  float lane[16];
};
struct Ints {
  std::int32_t lane[16];
};
struct Bytes {
  std::uint8_t lane[64];
};

// Tile sizes that suit this layer's registers; they do not change results.
inline constexpr int matmul_tokens = 1;  // tokens per step of an int8 product
inline constexpr int float_tokens = 2;   // tokens per step of a float product
inline constexpr int score_queries = 2;  // queries x 32 positions
inline constexpr int value_queries = 1;  // queries x value_vectors * 16 values
inline constexpr int value_vectors = 1;
/// What wide_operand() adds to a signed weight.
inline constexpr int wide_bias = 0;
/// Whether one token's loop has to prefetch; where not, touch() shows the processor's own prefetchers what it will
/// read.
inline constexpr bool prefetches_by_hand = true;

#define MOEBOX_EACH(count, expression)            \
  for (int i = 0; i < (count); ++i) (expression); \
  return r
// Calls and loops stay: 16 lanes unrolled everywhere would take the compiler a minute.
#define MOEBOX_OP inline
#define MOEBOX_UNROLL

// ---- floats: memory ----

MOEBOX_OP Floats load(const float* p) {
  Floats r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
MOEBOX_OP void store(float* p, Floats a) { std::memcpy(p, &a, sizeof a); }
/// The first n lanes, n <= 16; the others are 0. Nothing beyond them is touched.
MOEBOX_OP Floats load_first(const float* p, int n) {
  Floats r{};
  for (int i = 0; i < n; ++i) r.lane[i] = p[i];
  return r;
}
MOEBOX_OP void store_first(float* p, Floats a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.lane[i];
}
/// 16 stored halves or bfloat16.
MOEBOX_OP Floats load_halves(const void* p) {
  Half h[16];
  std::memcpy(h, p, sizeof h);
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = to_float(h[i]));
}
MOEBOX_OP Floats load_bfloats(const void* p) {
  BFloat16 h[16];
  std::memcpy(h, p, sizeof h);
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = to_float(h[i]));
}
/// The one half at p in every lane.
MOEBOX_OP Floats splat_half(const void* p) {
  Half h;
  std::memcpy(&h, p, sizeof h);
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = to_float(h));
}
/// Rounds to halves, to nearest, ties to even.
MOEBOX_OP void store_halves(void* p, Floats a) {
  Half h[16];
  for (int i = 0; i < 16; ++i) h[i] = to_half(a.lane[i]);
  std::memcpy(p, h, sizeof h);
}

// ---- floats: arithmetic ----

MOEBOX_OP Floats splat(float a) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a);
}
MOEBOX_OP Floats add(Floats a, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] + b.lane[i]);
}
MOEBOX_OP Floats sub(Floats a, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] - b.lane[i]);
}
MOEBOX_OP Floats mul(Floats a, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] * b.lane[i]);
}
MOEBOX_OP Floats div(Floats a, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] / b.lane[i]);
}
MOEBOX_OP Floats square_root(Floats a) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = __builtin_sqrtf(a.lane[i]));
}
/// a * b + c and c - a * b, rounded once.
MOEBOX_OP Floats fma(Floats a, Floats b, Floats c) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]));
}
MOEBOX_OP Floats fnma(Floats a, Floats b, Floats c) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = __builtin_fmaf(-a.lane[i], b.lane[i], c.lane[i]));
}
/// a > b ? a : b in each lane: b where one is NaN.
MOEBOX_OP Floats maximum(Floats a, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
/// a < b ? x : y in each lane: y where a or b is NaN.
MOEBOX_OP Floats select_less(Floats a, Floats b, Floats x, Floats y) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]);
}
/// The first n lanes of a, then lanes of b.
MOEBOX_OP Floats first_lanes(Floats a, int n, Floats b) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = i < n ? a.lane[i] : b.lane[i]);
}
/// Whether any lane of a equals b; NaN equals nothing.
MOEBOX_OP bool any_equal(Floats a, Floats b) {
  bool r = false;
  MOEBOX_EACH(16, r |= a.lane[i] == b.lane[i]);
}
/// The sum as a tree: lanes 8 apart, 4 apart, 2 apart, neighbours.
MOEBOX_OP float sum_lanes(Floats a) {
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) a.lane[i] = a.lane[i] + a.lane[i + half];
  }
  return a.lane[0];
}
/// The largest lane; no lane may be NaN.
MOEBOX_OP float max_lanes(Floats a) {
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  }
  return a.lane[0];
}
MOEBOX_OP float first_lane(Floats a) { return a.lane[0]; }
/// (a0, a1, ...), (b0, b1, ...) -> (a0, b0, a1, ...), and back: 32 values in two registers.
MOEBOX_OP void interleave(Floats& a, Floats& b) {
  Floats x, y;
  for (int i = 0; i < 8; ++i) {
    x.lane[2 * i] = a.lane[i], x.lane[2 * i + 1] = b.lane[i];
    y.lane[2 * i] = a.lane[i + 8], y.lane[2 * i + 1] = b.lane[i + 8];
  }
  a = x, b = y;
}
MOEBOX_OP void deinterleave(Floats& a, Floats& b) {
  Floats x, y;
  for (int i = 0; i < 8; ++i) {
    x.lane[i] = a.lane[2 * i], y.lane[i] = a.lane[2 * i + 1];
    x.lane[i + 8] = b.lane[2 * i], y.lane[i + 8] = b.lane[2 * i + 1];
  }
  a = x, b = y;
}

// ---- integers ----

MOEBOX_OP Ints load_ints(const void* p) {
  Ints r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
MOEBOX_OP void store_ints(void* p, Ints a) { std::memcpy(p, &a, sizeof a); }
MOEBOX_OP Ints splat_int(std::int32_t a) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a);
}
MOEBOX_OP std::int32_t wrap(std::uint32_t a) { return static_cast<std::int32_t>(a); }
/// Sums and differences wrap around: exp() subtracts the bits of any float.
MOEBOX_OP Ints add(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = wrap(static_cast<std::uint32_t>(a.lane[i]) + static_cast<std::uint32_t>(b.lane[i])));
}
MOEBOX_OP Ints sub(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = wrap(static_cast<std::uint32_t>(a.lane[i]) - static_cast<std::uint32_t>(b.lane[i])));
}
/// The product, which callers keep within range.
MOEBOX_OP Ints mul(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] * b.lane[i]);
}
MOEBOX_OP Ints bit_and(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] & b.lane[i]);
}
MOEBOX_OP Ints bit_or(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] | b.lane[i]);
}
MOEBOX_OP Ints maximum(Ints a, Ints b) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
template <int count>
MOEBOX_OP Ints shift_left(Ints a) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) << count));
}
/// Arithmetic and logical shifts to the right.
template <int count>
MOEBOX_OP Ints shift_right(Ints a) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = a.lane[i] >> count);
}
template <int count>
MOEBOX_OP Ints shift_right_zero(Ints a) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) >> count));
}
/// Byte j of each lane (j may vary at run time), as unsigned or signed.
MOEBOX_OP Ints byte_of(Ints a, int j) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = static_cast<std::int32_t>((static_cast<std::uint32_t>(a.lane[i]) >> (8 * j)) & 255u));
}
MOEBOX_OP Ints signed_byte_of(Ints a, int j) {
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(a.lane[i]) << (24 - 8 * j)) >> 24);
}
MOEBOX_OP std::int32_t sum_lanes(Ints a) {
  std::int32_t r = 0;
  MOEBOX_EACH(16, r += a.lane[i]);
}
MOEBOX_OP std::int32_t max_lanes(Ints a) {
  std::int32_t r = a.lane[0];
  MOEBOX_EACH(16, r = a.lane[i] > r ? a.lane[i] : r);
}
MOEBOX_OP Ints widen_bytes(const void* p) {
  std::uint8_t b[16];
  std::memcpy(b, p, sizeof b);
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = b[i]);
}
MOEBOX_OP Ints widen_int8(const void* p) {
  std::int8_t b[16];
  std::memcpy(b, p, sizeof b);
  Ints r;
  MOEBOX_EACH(16, r.lane[i] = b[i]);
}
/// Lanes of -128 .. 127 as 16 bytes.
MOEBOX_OP void store_int8(std::int8_t* p, Ints a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(a.lane[i]);
}
/// The low 16 bits of each lane.
MOEBOX_OP void store_int16(void* p, Ints a) {
  std::uint16_t h[16];
  for (int i = 0; i < 16; ++i) h[i] = static_cast<std::uint16_t>(a.lane[i]);
  std::memcpy(p, h, sizeof h);
}
MOEBOX_OP Floats to_floats(Ints a) {
  Floats r;
  MOEBOX_EACH(16, r.lane[i] = static_cast<float>(a.lane[i]));
}
MOEBOX_OP Ints bits(Floats a) {
  Ints r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}
MOEBOX_OP Floats from_bits(Ints a) {
  Floats r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}
/// To the nearest integer, ties to even. |a| < 2^22.
MOEBOX_OP Ints nearest_ints(Floats a) {
  const Floats magic = splat(0x1.8p23f);
  return sub(bits(add(a, magic)), bits(magic));
}

/// a * 2^n for integers n of -125 .. 128 and a of 0.5 .. 2, in two steps because floats have no 2^128.
MOEBOX_OP Floats times_power_of_two(Floats a, Floats n) {
  return mul(mul(a, from_bits(shift_left<23>(add(nearest_ints(n), splat_int(126))))), splat(2));
}

// ---- bytes ----

MOEBOX_OP Bytes load_bytes(const void* p) {
  Bytes r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
MOEBOX_OP Bytes splat_byte(int a) {
  Bytes r;
  MOEBOX_EACH(64, r.lane[i] = static_cast<std::uint8_t>(a));
}
MOEBOX_OP Bytes bit_and(Bytes a, Bytes b) {
  Bytes r;
  MOEBOX_EACH(64, r.lane[i] = a.lane[i] & b.lane[i]);
}
MOEBOX_OP Bytes bit_or(Bytes a, Bytes b) {
  Bytes r;
  MOEBOX_EACH(64, r.lane[i] = a.lane[i] | b.lane[i]);
}
/// c | (a & mask).
MOEBOX_OP Bytes or_masked(Bytes c, Bytes a, Bytes mask) { return bit_or(c, bit_and(a, mask)); }
/// Shifts of 16-bit lanes: bits cross from byte to byte, so the caller masks. The count may vary at run time.
MOEBOX_OP Bytes shift_right(Bytes a, int count) {
  std::uint16_t w[32];
  std::memcpy(w, &a, sizeof w);
  for (auto& x : w) x = static_cast<std::uint16_t>(x >> count);
  std::memcpy(&a, w, sizeof w);
  return a;
}
MOEBOX_OP Bytes shift_left(Bytes a, int count) {
  std::uint16_t w[32];
  std::memcpy(w, &a, sizeof w);
  for (auto& x : w) x = static_cast<std::uint16_t>(x << count);
  std::memcpy(&a, w, sizeof w);
  return a;
}
/// table[a], a of 0 .. 15.
MOEBOX_OP Bytes lookup(const std::int8_t* table, Bytes a) {
  Bytes r;
  MOEBOX_EACH(64, r.lane[i] = static_cast<std::uint8_t>(table[a.lane[i]]));
}
MOEBOX_OP Bytes as_bytes(Ints a) {
  Bytes r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}
MOEBOX_OP Ints as_ints(Bytes a) {
  Ints r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}
/// Signed weights in the form that dot_tile<8> takes.
MOEBOX_OP Bytes wide_operand(Bytes a) { return a; }

/// Integer dot products: sum[r][t], lane by lane, += over i < n of the four products of register w[r][first + i] with
/// the bytes 4 * (first + i) of token t, whose int8 (-127 .. 127) are `stride` bytes apart. Weights are unsigned and
/// below 2^weight_bits, or what wide_operand() made when weight_bits is 8.
template <int weight_bits, int first, int n, int n_groups, int n_tokens>
MOEBOX_OP void dot_tile(Ints (&sum)[n_groups][n_tokens], const Bytes (&w)[n_groups][8], const std::int8_t* a,
                        int stride) {
  for (int r = 0; r < n_groups; ++r) {
    for (int t = 0; t < n_tokens; ++t) {
      for (int i = first; i < first + n; ++i) {
        for (int k = 0; k < 64; ++k) {
          sum[r][t].lane[k / 4] += static_cast<std::int8_t>(w[r][i].lane[k]) * a[t * stride + 4 * i + k % 4];
        }
      }
    }
  }
}

/// 64 products of weights below 128 and int8, and a barrier against the compiler's knowing either: for probe.cpp.
inline constexpr int probe_chains = 1;
MOEBOX_OP Ints dot_register(Ints sum, Bytes w, Bytes a) {
  for (int k = 0; k < 64; ++k) sum.lane[k / 4] += w.lane[k] * static_cast<std::int8_t>(a.lane[k]);
  return sum;
}
MOEBOX_OP void forget(Bytes& a) { asm volatile("" : "+m"(a)); }
MOEBOX_OP void forget(Floats& a) { asm volatile("" : "+m"(a)); }

MOEBOX_OP void touch(const std::uint8_t*) {}
MOEBOX_OP void prefetch(const void*, std::uintptr_t) {}
MOEBOX_OP void prefetch_far(const void*, std::uintptr_t) {}

#undef MOEBOX_EACH

}  // namespace moebox::scalar

// How the weights of each packed format become registers: unsigned bytes for the int8 product, and the numbers that
// scale it. One struct per format; matmul_int8.h does the rest. Offsets are layout.h's.
//
// Formats of 32 columns have
//   weight_bits       weights are below 2^weight_bits; 8 for signed ones through wide_operand()
//   start             the field of ActivationRecord32 that undoes the offset of the weights, or nullptr
//   decode(unit, group, w)       32 columns of 16 rows: register i holds columns 4i .. 4i + 3
//   scale(unit, group)           and, with has_minimum, minimum(unit, group)
// Formats of 256 columns have in addition parts, and
//   scales_per_32     1 or 2 integer scales for 32 columns
//   start_shift       with has_start: the start value is ActivationRecord256::start16_by_32 >> start_shift
//   scales(unit, group)          a KScales; scale_of(scales, i) is integer scale i
#pragma once

#include "kernels/activations.h"
#include "kernels/layout.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

using Unit = const std::uint8_t*;

// ---- pieces ----

/// 4 registers of nibbles: low ones are columns 0-15, high ones 16-31.
MOEBOX_OP void decode_nibbles(Unit data, Bytes (&w)[8]) {
  const Bytes mask = splat_byte(15);
  MOEBOX_UNROLL
  for (int i = 0; i < 4; ++i) {
    const Bytes v = load_bytes(data + 64 * i);
    w[i] = bit_and(v, mask);
    w[i + 4] = bit_and(shift_right(v, 4), mask);
  }
}

/// Adds the fifth bits: bit i of the plane's bytes belongs to register i.
MOEBOX_OP void add_plane(Unit plane, Bytes (&w)[8]) {
  const Bytes p = load_bytes(plane), mask = splat_byte(16);
  MOEBOX_UNROLL
  for (int i = 0; i < 4; ++i) w[i] = or_masked(w[i], shift_left(p, 4 - i), mask);
  MOEBOX_UNROLL
  for (int i = 4; i < 8; ++i) w[i] = or_masked(w[i], shift_right(p, i - 4), mask);
}

MOEBOX_OP Floats halves_of_group(Unit field, int group) { return load_halves(field + 32 * group); }

// ---- 32 columns ----

struct Q8_0 : layout::Q8_0 {
  static constexpr int weight_bits = 8;
  static constexpr bool has_minimum = false;
  static constexpr auto start = wide_bias == 0 ? nullptr : &ActivationRecord32::start128;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) w[i] = wide_operand(load_bytes(unit + data + data_group * group + 64 * i));
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
};

struct Q4_0 : layout::Q4_0 {
  static constexpr int weight_bits = 4;
  static constexpr bool has_minimum = false;
  static constexpr auto start = &ActivationRecord32::start8;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
};

struct IQ4_NL : layout::IQ4_NL {
  static constexpr int weight_bits = 8;
  static constexpr bool has_minimum = false;
  static constexpr auto start = wide_bias == 0 ? nullptr : &ActivationRecord32::start128;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) w[i] = wide_operand(lookup(iq4_nl_table, w[i]));
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
};

struct Q4_1 : layout::Q4_1 {
  static constexpr int weight_bits = 4;
  static constexpr bool has_minimum = true;
  static constexpr std::int32_t ActivationRecord32::* start = nullptr;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
  static MOEBOX_OP Floats minimum_of(Unit unit, int group) { return halves_of_group(unit + minimum, group); }
};

struct Q5_0 : layout::Q5_0 {
  static constexpr int weight_bits = 5;
  static constexpr bool has_minimum = false;
  static constexpr auto start = &ActivationRecord32::start16;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
    add_plane(unit + plane + plane_group * group, w);
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
};

struct Q5_1 : layout::Q5_1 {
  static constexpr int weight_bits = 5;
  static constexpr bool has_minimum = true;
  static constexpr std::int32_t ActivationRecord32::* start = nullptr;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
    add_plane(unit + plane + plane_group * group, w);
  }
  static MOEBOX_OP Floats scale_of(Unit unit, int group) { return halves_of_group(unit + scale, group); }
  static MOEBOX_OP Floats minimum_of(Unit unit, int group) { return halves_of_group(unit + minimum, group); }
};

// Twice the FP4 numbers, -12 .. 12, plus 16.
inline constexpr std::int8_t mxfp4_plus_16[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

struct MXFP4 : layout::MXFP4 {
  static constexpr int weight_bits = 5;
  static constexpr bool has_minimum = false;
  static constexpr auto start = &ActivationRecord32::start16;
  static MOEBOX_OP void decode(Unit unit, int group, Bytes (&w)[8]) {
    decode_nibbles(unit + data + data_group * group, w);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) w[i] = lookup(mxfp4_plus_16, w[i]);
  }
  /// 2^(e - 128), as the product of two normal powers of two: exact, also where the result is subnormal.
  static MOEBOX_OP Floats scale_of(Unit unit, int group) {
    const Ints e = widen_bytes(unit + exponent + 16 * group), half = shift_right<1>(e), bias = splat_int(63);
    return mul(from_bits(shift_left<23>(add(half, bias))), from_bits(shift_left<23>(add(sub(e, half), bias))));
  }
};

// ---- 256 columns ----

/// The numbers of one unit and group. Integer scale i is byte i % 4 of lane r of scale[i / 4]; minimums likewise.
struct KScales {
  Floats d, d_minimum;
  Ints scale[4];
  Bytes minimum[4];
};

/// Q4_K and Q5_K: 8 scales and 8 minimums of 6 bits in 12 bytes.
MOEBOX_OP void unpack_scales6(Unit p, KScales& k) {
  const Ints a = load_ints(p), b = load_ints(p + 64), c = load_ints(p + 128);
  const Ints low6 = splat_int(0x3f3f3f3f), low4 = splat_int(0x0f0f0f0f), high2 = splat_int(0x30303030);
  k.scale[0] = bit_and(a, low6);
  k.scale[1] = bit_or(bit_and(c, low4), bit_and(shift_right_zero<2>(a), high2));
  k.minimum[0] = as_bytes(bit_and(b, low6));
  k.minimum[1] = as_bytes(bit_or(bit_and(shift_right_zero<4>(c), low4), bit_and(shift_right_zero<2>(b), high2)));
}

struct Q4_K : layout::Q4_K {
  static constexpr int weight_bits = 4, parts = 4, scales_per_32 = 1, minimum_registers = 2;
  static constexpr int start_shift = 0, data_step = 64;
  static constexpr bool has_minimum = true, has_start = false;
  /// Columns 32 * (2 * part + s) ...
  static MOEBOX_OP void decode(Unit unit, int group, int part, int s, Bytes (&w)[8]) {
    const Unit p = unit + data + data_part * part + data_group * group;
    const Bytes mask = splat_byte(15);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) w[i] = bit_and(shift_right(load_bytes(p + 64 * i), 4 * s), mask);
  }
  /// The next four columns of the part's two blocks of 32.
  static MOEBOX_OP void decode_step(Unit p, Bytes (&w)[2][1][8]) {
    const Bytes mask = splat_byte(15), both = load_bytes(p);
    w[0][0][0] = bit_and(both, mask);
    w[1][0][0] = bit_and(shift_right(both, 4), mask);
  }
  static MOEBOX_OP void scales_of(Unit unit, int group, KScales& k) {
    k.d = halves_of_group(unit + scale, group);
    k.d_minimum = halves_of_group(unit + minimum, group);
    unpack_scales6(unit + scales + scales_group * group, k);
  }
  static MOEBOX_OP Ints scale_of(const KScales& k, int i) { return byte_of(k.scale[i / 4], i % 4); }
};

struct Q5_K : layout::Q5_K {
  static constexpr int weight_bits = 5, parts = 4, scales_per_32 = 1, minimum_registers = 2;
  static constexpr bool has_minimum = true, has_start = false;
  static MOEBOX_OP void decode(Unit unit, int group, int part, int s, Bytes (&w)[8]) {
    const Unit p = unit + data + data_part * part + data_group * group, h = unit + high + high_group * group;
    const Bytes mask = splat_byte(15), one = splat_byte(1), mask16 = splat_byte(16);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) {
      const Bytes bit = bit_and(shift_right(load_bytes(h + 64 * i), 2 * part + s), one);
      w[i] = or_masked(bit_and(shift_right(load_bytes(p + 64 * i), 4 * s), mask), shift_left(bit, 4), mask16);
    }
  }
  static MOEBOX_OP void scales_of(Unit unit, int group, KScales& k) {
    k.d = halves_of_group(unit + scale, group);
    k.d_minimum = halves_of_group(unit + minimum, group);
    unpack_scales6(unit + scales + scales_group * group, k);
  }
  static MOEBOX_OP Ints scale_of(const KScales& k, int i) { return byte_of(k.scale[i / 4], i % 4); }
};

struct Q6_K : layout::Q6_K {
  static constexpr int weight_bits = 6, parts = 2, scales_per_32 = 2, minimum_registers = 0;
  static constexpr bool has_minimum = false, has_start = true;
  static constexpr int start_shift = 0;
  /// Columns 128 * part + 32 * s ...
  static MOEBOX_OP void decode(Unit unit, int group, int part, int s, Bytes (&w)[8]) {
    const Unit p = unit + data + data_part * part + data_group * group;
    const Unit l = p + low + low_half * (s & 1), h = p + high;
    const Bytes mask4 = splat_byte(15), mask48 = splat_byte(0x30);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) {
      const Bytes two = load_bytes(h + data_step * i);  // bits 2 * s and 2 * s + 1 go to places 4 and 5
      w[i] = or_masked(bit_and(shift_right(load_bytes(l + data_step * i), 4 * (s >> 1)), mask4),
                       s < 2 ? shift_left(two, 4 - 2 * s) : shift_right(two, 2 * s - 4), mask48);
    }
  }
  /// The next four columns of the part's four blocks of 32, from data_step bytes in their order.
  static MOEBOX_OP void decode_step(Unit p, Bytes (&w)[4][1][8]) {
    const Bytes mask4 = splat_byte(15), mask48 = splat_byte(0x30);
    const Bytes two = load_bytes(p + high), a = load_bytes(p + low), b = load_bytes(p + low + low_half);
    w[0][0][0] = or_masked(bit_and(a, mask4), shift_left(two, 4), mask48);
    w[1][0][0] = or_masked(bit_and(b, mask4), shift_left(two, 2), mask48);
    w[2][0][0] = or_masked(bit_and(shift_right(a, 4), mask4), two, mask48);
    w[3][0][0] = or_masked(bit_and(shift_right(b, 4), mask4), shift_right(two, 2), mask48);
  }
  static MOEBOX_OP void scales_of(Unit unit, int group, KScales& k) {
    k.d = halves_of_group(unit + scale, group);
    MOEBOX_UNROLL
    for (int i = 0; i < 4; ++i) k.scale[i] = load_ints(unit + scales + scales_group * group + 64 * i);
  }
  static MOEBOX_OP Ints scale_of(const KScales& k, int i) { return signed_byte_of(k.scale[i / 4], i % 4); }
};

struct Q3_K : layout::Q3_K {
  static constexpr int weight_bits = 3, parts = 2, scales_per_32 = 2, minimum_registers = 0;
  static constexpr bool has_minimum = false, has_start = true;
  static constexpr int start_shift = 3;  // weights are stored plus 4
  static MOEBOX_OP void decode(Unit unit, int group, int part, int s, Bytes (&w)[8]) {
    const Unit p = unit + data + data_part * part + data_group * group, h = unit + high + high_group * group;
    const Bytes mask2 = splat_byte(3), one = splat_byte(1), mask4 = splat_byte(4);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) {
      const Bytes bit = bit_and(shift_right(load_bytes(h + 64 * i), 4 * part + s), one);
      w[i] = or_masked(bit_and(shift_right(load_bytes(p + 64 * i), 2 * s), mask2), shift_left(bit, 2), mask4);
    }
  }
  static MOEBOX_OP void scales_of(Unit unit, int group, KScales& k) {
    k.d = halves_of_group(unit + scale, group);
    const Unit p = unit + scales + scales_group * group;
    const Ints a = load_ints(p), b = load_ints(p + 64), c = load_ints(p + 128);
    const Ints low4 = splat_int(0x0f0f0f0f), high2 = splat_int(0x30303030);
    k.scale[0] = bit_or(bit_and(a, low4), bit_and(shift_left<4>(c), high2));
    k.scale[1] = bit_or(bit_and(b, low4), bit_and(shift_left<2>(c), high2));
    k.scale[2] = bit_or(bit_and(shift_right_zero<4>(a), low4), bit_and(c, high2));
    k.scale[3] = bit_or(bit_and(shift_right_zero<4>(b), low4), bit_and(shift_right_zero<2>(c), high2));
  }
  static MOEBOX_OP Ints scale_of(const KScales& k, int i) { return sub(byte_of(k.scale[i / 4], i % 4), splat_int(32)); }
};

struct Q2_K : layout::Q2_K {
  static constexpr int weight_bits = 2, parts = 2, scales_per_32 = 2, minimum_registers = 4;
  static constexpr bool has_minimum = true, has_start = false;
  static MOEBOX_OP void decode(Unit unit, int group, int part, int s, Bytes (&w)[8]) {
    const Unit p = unit + data + data_part * part + data_group * group;
    const Bytes mask = splat_byte(3);
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) w[i] = bit_and(shift_right(load_bytes(p + 64 * i), 2 * s), mask);
  }
  static MOEBOX_OP void scales_of(Unit unit, int group, KScales& k) {
    k.d = halves_of_group(unit + scale, group);
    k.d_minimum = halves_of_group(unit + minimum, group);
    const Ints low4 = splat_int(0x0f0f0f0f);
    MOEBOX_UNROLL
    for (int i = 0; i < 4; ++i) {
      const Ints v = load_ints(unit + scales + scales_group * group + 64 * i);
      k.scale[i] = bit_and(v, low4);
      k.minimum[i] = as_bytes(bit_and(shift_right_zero<4>(v), low4));
    }
  }
  static MOEBOX_OP Ints scale_of(const KScales& k, int i) { return byte_of(k.scale[i / 4], i % 4); }
};

}  // namespace moebox::MOEBOX_SIMD

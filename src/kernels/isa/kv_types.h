// The types of the KV cache: how keys and values of each are read as floats, and how floats are rounded to them.
//
// Rows of Q8_0 are cut into groups of 32 values with a scale; the last group may be shorter. What is read is scale * q,
// which is exact in a float: attention over Q8_0 has the bits of attention over those floats.
#pragma once

#include <cstring>

#include "kernels/kernel_table.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

MOEBOX_OP int kv_groups(int n) { return (n + kv_group_values - 1) / kv_group_values; }

MOEBOX_OP std::size_t kv_bytes(KvType type, int row_values) {
  const auto n = static_cast<std::size_t>(row_values);
  if (type == KvType::f32) return 4 * n;
  if (type == KvType::q8_0) return n + 2 * static_cast<std::size_t>(kv_groups(row_values));
  return 2 * n;
}

// ---- numbers that stand alone ----

struct FloatElement {
  static constexpr std::size_t bytes = 4;
  static MOEBOX_OP Floats load16(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct HalfElement {
  static constexpr std::size_t bytes = 2;
  static MOEBOX_OP Floats load16(const std::byte* p) { return load_halves(p); }
};
struct BFloatElement {
  static constexpr std::size_t bytes = 2;
  static MOEBOX_OP Floats load16(const std::byte* p) { return load_bfloats(p); }
};

template <class E>
MOEBOX_OP Floats load8(const std::byte* p) {
  alignas(64) std::byte padded[16 * E::bytes] = {};
  std::memcpy(padded, p, 8 * E::bytes);
  return E::load16(padded);
}

/// Keys or values of a head in a block. Keys are (head_dim, 32 positions), values (32 positions, head_dim).
template <class E>
struct Plain {
  /// Keys, dimension after dimension.
  struct Keys {
    const std::byte* at;
    MOEBOX_OP Keys(const std::byte* k, int /*head_dim*/) : at(k) {}
    MOEBOX_OP void next(int /*d*/, Floats& k0, Floats& k1) {
      k0 = E::load16(at), k1 = E::load16(at + 16 * E::bytes);
      at += kv_block_tokens * E::bytes;
    }
  };
  /// Values from dimension d on, position after position.
  struct Values {
    const std::byte* at;
    std::size_t row;
    MOEBOX_OP Values(const std::byte* v, const float* /*scales*/, int head_dim, int position, int d)
        : row(static_cast<std::size_t>(head_dim) * E::bytes) {
      at = v + static_cast<std::size_t>(position) * row + static_cast<std::size_t>(d) * E::bytes;
    }
    MOEBOX_OP Floats vector(int j) const { return E::load16(at + static_cast<std::size_t>(16 * j) * E::bytes); }
    MOEBOX_OP Floats half_vector() const { return load8<E>(at); }
    MOEBOX_OP void next() { at += row; }
  };
  static MOEBOX_OP void read_value_scales(const std::byte*, int, float*) {}
};

// ---- groups with a scale ----

/// Behind a head's keys lie their scales (groups, 32 positions), behind its values theirs (32 positions, groups).
struct Grouped {
  struct Keys {
    const std::byte *at, *scales;
    Floats s0, s1;
    MOEBOX_OP Keys(const std::byte* k, int head_dim)
        : at(k), scales(k + head_dim * kv_block_tokens), s0(splat(0)), s1(s0) {}
    MOEBOX_OP void next(int d, Floats& k0, Floats& k1) {
      if (d % kv_group_values == 0) {
        s0 = load_halves(scales), s1 = load_halves(scales + 32);
        scales += 2 * kv_block_tokens;
      }
      k0 = mul(to_floats(widen_int8(at)), s0), k1 = mul(to_floats(widen_int8(at + 16)), s1);
      at += kv_block_tokens;
    }
  };
  /// `scales` are what read_value_scales() left.
  struct Values {
    const std::byte* at;
    const float* scale;
    int row, groups;
    MOEBOX_OP Values(const std::byte* v, const float* scales, int head_dim, int position, int d)
        : at(v + position * head_dim + d),
          scale(scales + position * kv_groups(head_dim) + d / kv_group_values),
          row(head_dim),
          groups(kv_groups(head_dim)) {}
    /// d is a multiple of 32 where j is not 0.
    MOEBOX_OP Floats vector(int j) const {
      return mul(to_floats(widen_int8(at + 16 * j)), splat(scale[16 * j / kv_group_values]));
    }
    MOEBOX_OP Floats half_vector() const {
      std::byte padded[16] = {};
      std::memcpy(padded, at, 8);
      return mul(to_floats(widen_int8(padded)), splat(*scale));
    }
    MOEBOX_OP void next() { at += row, scale += groups; }
  };
  static MOEBOX_OP void read_value_scales(const std::byte* v, int head_dim, float* scales) {
    const std::byte* from = v + head_dim * kv_block_tokens;
    for (int i = 0; i < kv_groups(head_dim) * kv_block_tokens; i += 16) store(scales + i, load_halves(from + 2 * i));
  }
};

// ---- rounding ----

/// 16 floats as the nearest BF16, ties to even. A NaN stays one.
MOEBOX_OP void store_bfloats(void* p, Floats a) {
  std::uint32_t x[16];
  std::memcpy(x, &a, sizeof x);
  std::uint16_t rounded[16];
  for (int i = 0; i < 16; ++i) {
    const std::uint32_t nearest = (x[i] + 0x7fffu + ((x[i] >> 16) & 1u)) >> 16, nan = (x[i] >> 16) | 0x40u;
    rounded[i] = static_cast<std::uint16_t>((x[i] & 0x7fffffffu) > 0x7f800000u ? nan : nearest);
  }
  std::memcpy(p, rounded, sizeof rounded);
}

/// 16 floats as halves or BF16.
MOEBOX_OP void store_numbers(KvType type, void* p, Floats a) {
  if (type == KvType::bf16)
    store_bfloats(p, a);
  else
    store_halves(p, a);
}

struct Group {
  std::uint16_t scale;  // a half
  std::int8_t q[kv_group_values];
};

/// To the nearest integer, ties away from zero. |a| < 2^21.
MOEBOX_OP Ints nearest_away(Floats a) {
  const Floats size = maximum(a, sub(splat(0), a));
  const Ints even = nearest_ints(size);
  const Floats rest = sub(size, to_floats(even));
  constexpr float below_half = 0x1.fffffep-2f;
  const Ints up = nearest_ints(select_less(splat(below_half), rest, splat(1), splat(0)));
  return mul(add(even, up), bit_or(shift_right<31>(bits(a)), splat_int(1)));
}

/// n <= 32 values as ggml's reference makes a block of Q8_0: d = amax / 127, q = x / d by way of its inverse, and d is
/// rounded to a half at last. A group with a NaN or an infinity becomes NaN; one whose largest is below 2^-100, zeros.
MOEBOX_OP Group round_group(const float* x, int n) {
  const Floats zero = splat(0);
  const Floats a = n < 16 ? load_first(x, n) : load(x);
  const Floats b = n == 32 ? load(x + 16) : n > 16 ? load_first(x + 16, n - 16) : zero;
  const Ints mask = splat_int(0x7fffffff);
  const std::int32_t amax_bits = max_lanes(maximum(bit_and(bits(a), mask), bit_and(bits(b), mask)));
  Group group{};
  if (amax_bits >= 0x7f800000) {
    group.scale = 0x7e00;
    return group;
  }
  float amax;
  std::memcpy(&amax, &amax_bits, sizeof amax);
  if (amax < 0x1p-100f) return group;
  const float d = amax / 127.0f;
  const Floats inverse = splat(1.0f / d);
  store_int8(group.q, nearest_away(mul(a, inverse)));
  store_int8(group.q + 16, nearest_away(mul(b, inverse)));
  std::uint16_t scales[16];
  store_halves(scales, splat(d));
  group.scale = scales[0];
  return group;
}

/// 32 values times Hadamard's matrix / sqrt(32), in an order that does not matter, since queries meet keys only: their
/// products stay the same, and a large value (of a bias, say) is spread over its group. What is no whole group stays.
MOEBOX_OP void rotate_group(const float* x, int n, float* out) {
  if (n != kv_group_values) {
    std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  Floats a = load(x), b = load(x + 16);
  MOEBOX_UNROLL
  for (int stage = 0; stage < 5; ++stage) {
    deinterleave(a, b);
    const Floats sum = add(a, b);
    b = sub(a, b);
    a = sum;
  }
  const Floats factor = splat(0x1.6a09e6p-3f);
  store(out, mul(a, factor));
  store(out + 16, mul(b, factor));
}

}  // namespace moebox::MOEBOX_SIMD

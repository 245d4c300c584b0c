// exp() on 16 lanes: one polynomial with the same operations in the same order on every instruction set.
#pragma once

#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

inline constexpr float infinity = __builtin_inff();

/// e^x within 2 units in the last place. Below -86.6 (2.4e-38) it is 0, above 88.72 infinity; NaN stays NaN; exp(0)
/// is 1. x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite's reduction), e^r by a polynomial of degree 6 with the
/// smallest relative error (tests/golden/kernels/exp_polynomial.py derives it).
MOEBOX_OP Floats exp(Floats x) {
  const Floats magic = splat(0x1.8p23f);  // adding it rounds to an integer
  const Floats shifted = fma(x, splat(0x1.715476p0f), magic);
  const Floats n = sub(shifted, magic);
  const Floats r = fnma(n, splat(-0x1.05c61p-29f), fnma(n, splat(0x1.62e43p-1f), x));
  Floats p = splat(0x1.6a2434p-10f);
  p = fma(p, r, splat(0x1.1239e2p-7f));
  p = fma(p, r, splat(0x1.5558f2p-5f));
  p = fma(p, r, splat(0x1.555492p-3f));
  p = fma(p, r, splat(0x1.fffffcp-2f));
  p = fma(p, r, splat(1));
  p = fma(p, r, splat(1));
  // 2^n as 2^(n - 1) * 2, so that n = 128 needs no exponent that floats lack.
  const Ints power = shift_left<23>(add(sub(bits(shifted), bits(magic)), splat_int(126)));
  const Floats y = mul(mul(p, from_bits(power)), splat(2));
  return select_less(x, splat(-86.6f), splat(0), select_less(splat(88.72f), x, splat(infinity), y));
}

}  // namespace moebox::MOEBOX_SIMD

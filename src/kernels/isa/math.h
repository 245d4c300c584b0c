// exp() on 16 lanes: one polynomial with the same operations in the same order on every instruction set.
#pragma once

#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

inline constexpr float infinity = __builtin_inff();

/// e^x within 2 units in the last place where -86.6 <= x <= 88.72, something else elsewhere; NaN stays NaN; exp(0)
/// is 1. x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite's reduction), e^r by a polynomial of degree 6 with the
/// smallest relative error (tests/golden/kernels/exp_polynomial.py derives it).
MOEBOX_OP Floats exp_inside(Floats x) {
  const Floats magic = splat(0x1.8p23f);  // adding it rounds to an integer
  const Floats n = sub(fma(x, splat(0x1.715476p0f), magic), magic);
  const Floats r = fnma(n, splat(-0x1.05c61p-29f), fnma(n, splat(0x1.62e43p-1f), x));
  Floats p = splat(0x1.6a2434p-10f);
  p = fma(p, r, splat(0x1.1239e2p-7f));
  p = fma(p, r, splat(0x1.5558f2p-5f));
  p = fma(p, r, splat(0x1.555492p-3f));
  p = fma(p, r, splat(0x1.fffffcp-2f));
  p = fma(p, r, splat(1));
  p = fma(p, r, splat(1));
  return times_power_of_two(p, n);
}

/// e^x for x <= 0: 0 below -86.6, that is below 2.4e-38.
MOEBOX_OP Floats exp_not_positive(Floats x) { return select_less(x, splat(-86.6f), splat(0), exp_inside(x)); }

/// e^x for any x: 0 below -86.6, infinity above 88.72.
MOEBOX_OP Floats exp(Floats x) { return select_less(splat(88.72f), x, splat(infinity), exp_not_positive(x)); }

}  // namespace moebox::MOEBOX_SIMD

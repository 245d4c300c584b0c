// The search for scales (and minima) that make the squared error of a block small: least squares over a grid of
// assignments. What a format does with them is in its own file. All in one fixed order of float operations, so that a
// file is the same whoever wrote it, on however many threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/float_types.h"

namespace moebox::quant {

/// Four floats that the compiler keeps in one register of every machine.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = std::int32_t __attribute__((vector_size(16)));

inline Float4 all(float value) noexcept { return Float4{value, value, value, value}; }
inline Float4 load(const float* from) noexcept { return Float4{from[0], from[1], from[2], from[3]}; }
inline float sum(Float4 v) noexcept { return (v[0] + v[2]) + (v[1] + v[3]); }
inline Float4 clamp(Float4 v, float low, float high) noexcept {
  const Float4 a = all(low), b = all(high);
  v = v < a ? a : v;
  return v > b ? b : v;
}
/// To the nearest integer, for values that are clamped to small ones.
inline Float4 nearest(Float4 v) noexcept {
  const Float4 shift = all(12582912.0f);  // 1.5 x 2^23: the adder rounds there
  return (v + shift) - shift;
}
/// The integers that `n` values become with this inverse scale, after `offset` has been taken away.
inline Float4 assigned(const float* x, float offset, float inverse, float low, float high) noexcept {
  return nearest(clamp((load(x) - all(offset)) * all(inverse), low, high));
}

/// The nearest half that is finite: a scale beyond makes infinities of the block.
inline Half finite_half(float value) noexcept { return to_half(std::clamp(value, -65504.0f, 65504.0f)); }
/// 1 / value, or 0: for zero, and for what overflows.
inline float inverse_of(float value) noexcept {
  const float inverse = 1.0f / value;
  return value != 0.0f && std::isfinite(inverse) ? inverse : 0.0f;
}

/// The value of the largest magnitude, with its sign.
inline float extreme(const float* x, int n) noexcept {
  float largest = 0;
  for (int i = 0; i < n; ++i)
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  return largest;
}

inline void write_integers(Float4 q, int offset, std::uint8_t* out) noexcept {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint8_t>(static_cast<int>(q[i]) + offset);
}

// ---- x = scale * q ----

struct SymmetricFit {
  float scale = 0;
  float gain = 0;  // by how much it lowers the sum of squares
};

template <int N>
SymmetricFit symmetric_fit(const float* x, float inverse, float low, float high) noexcept {
  Float4 xq = all(0), qq = all(0);
  for (int i = 0; i < N; i += 4) {
    const Float4 q = assigned(x + i, 0, inverse, low, high);
    xq += load(x + i) * q;
    qq += q * q;
  }
  const float product = sum(xq), squares = sum(qq);
  if (!(squares > 0)) return {};
  return {product / squares, product * product / squares};
}

/// The scale for integers in [low, high], low = -high - 1: the value of the largest magnitude becomes about `low`, or
/// about `high` with the other sign; then the assignment and the scale are fitted to each other.
template <int N>
float symmetric_scale(const float* x, int low, int high) noexcept {
  const float largest = extreme(x, N), unit = inverse_of(largest);
  if (unit == 0.0f) return 0;
  const auto bottom = static_cast<float>(low), top = static_cast<float>(high);
  const float step = 0.025f * top;
  SymmetricFit best;
  const auto attempt = [&](float inverse) {
    const SymmetricFit fit = symmetric_fit<N>(x, inverse, bottom, top);
    if (fit.gain > best.gain) best = fit;
  };
  for (int k = -6; k <= 5; ++k) attempt((bottom - step * static_cast<float>(k)) * unit);
  for (int k = -6; k <= 5; ++k) attempt((top + step * static_cast<float>(k)) * unit);
  for (int round = 0; round < 2; ++round) attempt(inverse_of(best.scale));
  return best.scale;
}

template <int N>
float symmetric_error(const float* x, float scale, float low, float high) noexcept {
  const float inverse = inverse_of(scale);
  Float4 total = all(0);
  for (int i = 0; i < N; i += 4) {
    const Float4 error = load(x + i) - all(scale) * assigned(x + i, 0, inverse, low, high);
    total += error * error;
  }
  return sum(total);
}

// ---- x = scale * q + min ----

struct AffineFit {
  float scale = 0, min = 0;
  float error = std::numeric_limits<float>::infinity();  // sum of squares that is left
};

/// Least squares for one assignment. `below_zero`: the minimum must not be above zero.
template <int N>
AffineFit affine_fit(const float* x, float offset, float inverse, float high, bool below_zero) noexcept {
  Float4 q1 = all(0), q2 = all(0), x1 = all(0), x2 = all(0), xq = all(0);
  for (int i = 0; i < N; i += 4) {
    const Float4 value = load(x + i), q = assigned(x + i, offset, inverse, 0, high);
    q1 += q;
    q2 += q * q;
    x1 += value;
    x2 += value * value;
    xq += value * q;
  }
  constexpr auto n = static_cast<float>(N);
  const float sq = sum(q1), sqq = sum(q2), sx = sum(x1), sxx = sum(x2), sxq = sum(xq);
  const float determinant = n * sqq - sq * sq;
  AffineFit fit;
  if (determinant > 0) {
    fit.scale = (n * sxq - sx * sq) / determinant;
    fit.min = (sqq * sx - sq * sxq) / determinant;
  }
  if (determinant <= 0 || (below_zero && fit.min > 0)) {
    fit.min = 0;
    fit.scale = sqq > 0 ? sxq / sqq : 0;
  }
  fit.error = sxx - 2 * (fit.scale * sxq + fit.min * sx) + fit.scale * (fit.scale * sqq + 2 * fit.min * sq) +
              n * fit.min * fit.min;
  return fit;
}

/// Scale and minimum for integers in [0, high].
template <int N>
AffineFit affine_scale(const float* x, int high, bool below_zero) noexcept {
  float low_value = x[0], high_value = x[0];
  for (int i = 1; i < N; ++i) {
    low_value = std::min(low_value, x[i]);
    high_value = std::max(high_value, x[i]);
  }
  if (below_zero) low_value = std::min(low_value, 0.0f);
  const float unit = inverse_of(high_value - low_value);
  AffineFit best;
  if (unit == 0.0f) {
    best.min = low_value;
    return best;
  }
  const auto top = static_cast<float>(high);
  const auto attempt = [&](float offset, float inverse) {
    const AffineFit fit = affine_fit<N>(x, offset, inverse, top, below_zero);
    if (fit.error < best.error && fit.scale > 0) best = fit;
  };
  // The range narrowed at both ends by a part of a step, at one of them, or a little widened.
  const float step = (high_value - low_value) / top;
  for (int k = -2; k <= 6; ++k) {
    const float part = 0.15f * static_cast<float>(k) * step;
    attempt(low_value + part, top * inverse_of(high_value - low_value - 2 * part));
    if (k == 0) continue;
    attempt(low_value + part, top * inverse_of(high_value - low_value - part));
    attempt(low_value, top * inverse_of(high_value - low_value - part));
  }
  for (int round = 0; round < 2; ++round) attempt(best.min, inverse_of(best.scale));
  return best;
}

template <int N>
float affine_error(const float* x, float scale, float min, float high) noexcept {
  const float inverse = inverse_of(scale);
  Float4 total = all(0);
  for (int i = 0; i < N; i += 4) {
    const Float4 error = load(x + i) - (all(scale) * assigned(x + i, min, inverse, 0, high) + all(min));
    total += error * error;
  }
  return sum(total);
}

// ---- 256 values in groups whose scales are integers themselves ----

/// Groups of N values with a scale and a minimum each: value = (scale * scales[g]) * q - (min * minima[g]).
template <int N>
struct AffineGroups {
  static constexpr int n_groups = 256 / N;
  Half scale{0}, min{0};
  std::uint8_t scales[n_groups]{}, minima[n_groups]{};
  std::uint8_t q[256]{};

  float group_scale(int g) const noexcept { return to_float(scale) * static_cast<float>(scales[g]); }
  float group_min(int g) const noexcept { return -(to_float(min) * static_cast<float>(minima[g])); }
};

template <int N>
float groups_error(const AffineGroups<N>& groups, const float* x, int high) noexcept {
  float error = 0;
  for (int g = 0; g < AffineGroups<N>::n_groups; ++g)
    error += affine_error<N>(x + N * g, groups.group_scale(g), groups.group_min(g), static_cast<float>(high));
  return error;
}

/// Chooses each group's integers by the error that they make, around what the fit would like.
template <int N>
void choose_group_integers(AffineGroups<N>& groups, const AffineFit* fits, const float* x, int high,
                           int scale_high) noexcept {
  const float unit = inverse_of(to_float(groups.scale)), min_unit = inverse_of(to_float(groups.min));
  for (int g = 0; g < AffineGroups<N>::n_groups; ++g) {
    const int scale_near = static_cast<int>(std::lround(std::min(fits[g].scale * unit, 255.0f)));
    const int min_near = static_cast<int>(std::lround(std::min(-fits[g].min * min_unit, 255.0f)));
    float least = std::numeric_limits<float>::infinity();
    for (int s = scale_near - 1; s <= scale_near + 1; ++s) {
      for (int m = min_near - 1; m <= min_near + 1; ++m) {
        if (s < 0 || s > scale_high || m < 0 || m > scale_high) continue;
        const float error = affine_error<N>(x + N * g, to_float(groups.scale) * static_cast<float>(s),
                                            -(to_float(groups.min) * static_cast<float>(m)), static_cast<float>(high));
        if (!(error < least)) continue;
        least = error;
        groups.scales[g] = static_cast<std::uint8_t>(s);
        groups.minima[g] = static_cast<std::uint8_t>(m);
      }
    }
  }
}

/// Scale and minimum of the whole block by least squares, for the assignment that its integers give.
template <int N>
void fit_block_scales(AffineGroups<N>& groups, const float* x, int high) noexcept {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // x = scale * a - min * b, a = scales[g] * q, b = minima[g]
  for (int g = 0; g < AffineGroups<N>::n_groups; ++g) {
    const float inverse = inverse_of(groups.group_scale(g));
    Float4 q1 = all(0), q2 = all(0), x1 = all(0), xq = all(0);
    for (int i = N * g; i < N * (g + 1); i += 4) {
      const Float4 q = assigned(x + i, groups.group_min(g), inverse, 0, static_cast<float>(high));
      q1 += q;
      q2 += q * q;
      x1 += load(x + i);
      xq += load(x + i) * q;
    }
    const double s = groups.scales[g], m = groups.minima[g];
    aa += s * s * static_cast<double>(sum(q2));
    ab += s * m * static_cast<double>(sum(q1));
    bb += m * m * N;
    ax += s * static_cast<double>(sum(xq));
    bx += m * static_cast<double>(sum(x1));
  }
  const double determinant = aa * bb - ab * ab;
  double scale = aa > 0 ? ax / aa : 0, min = 0;
  if (determinant > 1e-9 * aa * bb) {
    scale = (ax * bb - ab * bx) / determinant;
    min = -(aa * bx - ab * ax) / determinant;
  }
  if (!(scale > 0) || min < 0) return;
  AffineGroups<N> other = groups;
  other.scale = finite_half(static_cast<float>(scale));
  other.min = finite_half(static_cast<float>(min));
  if (groups_error(other, x, high) < groups_error(groups, x, high)) groups = other;
}

/// 256 values as integers in [0, high], the groups' scales and minima as integers in [0, scale_high].
template <int N>
AffineGroups<N> affine_groups(const float* x, int high, int scale_high) noexcept {
  constexpr int n_groups = AffineGroups<N>::n_groups;
  AffineFit fits[n_groups];
  float largest = 0, lowest = 0;
  for (int g = 0; g < n_groups; ++g) {
    fits[g] = affine_scale<N>(x + N * g, high, true);
    largest = std::max(largest, fits[g].scale);
    lowest = std::min(lowest, fits[g].min);
  }
  AffineGroups<N> groups;
  groups.scale = finite_half(largest / static_cast<float>(scale_high));
  groups.min = finite_half(-lowest / static_cast<float>(scale_high));
  choose_group_integers(groups, fits, x, high, scale_high);
  fit_block_scales(groups, x, high);
  for (int g = 0; g < n_groups; ++g) {
    const float inverse = inverse_of(groups.group_scale(g));
    for (int i = N * g; i < N * (g + 1); i += 4)
      write_integers(assigned(x + i, groups.group_min(g), inverse, 0, static_cast<float>(high)), 0, groups.q + i);
  }
  return groups;
}

/// Groups of 16 values with a scale each: value = (scale * scales[g]) * (q + low).
struct SymmetricGroups {
  static constexpr int n_groups = 16;
  Half scale{0};
  std::int8_t scales[n_groups]{};
  std::uint8_t q[256]{};

  float group_scale(int g) const noexcept { return to_float(scale) * static_cast<float>(scales[g]); }
};

inline float groups_error(const SymmetricGroups& groups, const float* x, int low, int high) noexcept {
  float error = 0;
  for (int g = 0; g < SymmetricGroups::n_groups; ++g)
    error += symmetric_error<16>(x + 16 * g, groups.group_scale(g), static_cast<float>(low), static_cast<float>(high));
  return error;
}

inline void fit_block_scale(SymmetricGroups& groups, const float* x, int low, int high) noexcept {
  double aa = 0, ax = 0;  // x = scale * a, a = scales[g] * q
  for (int g = 0; g < SymmetricGroups::n_groups; ++g) {
    const float inverse = inverse_of(groups.group_scale(g));
    Float4 qq = all(0), xq = all(0);
    for (int i = 16 * g; i < 16 * (g + 1); i += 4) {
      const Float4 q = assigned(x + i, 0, inverse, static_cast<float>(low), static_cast<float>(high));
      qq += q * q;
      xq += load(x + i) * q;
    }
    const double s = groups.scales[g];
    aa += s * s * static_cast<double>(sum(qq));
    ax += s * static_cast<double>(sum(xq));
  }
  if (!(aa > 0)) return;
  SymmetricGroups other = groups;
  other.scale = finite_half(static_cast<float>(ax / aa));
  if (groups_error(other, x, low, high) < groups_error(groups, x, low, high)) groups = other;
}

/// 256 values as integers in [low, high], stored less `low`; the groups' scales as integers in [scale_low, scale_high],
/// scale_low = -scale_high - 1.
inline SymmetricGroups symmetric_groups(const float* x, int low, int high, int scale_low, int scale_high) noexcept {
  float fits[SymmetricGroups::n_groups];
  for (int g = 0; g < SymmetricGroups::n_groups; ++g) fits[g] = symmetric_scale<16>(x + 16 * g, low, high);
  SymmetricGroups groups;
  groups.scale = finite_half(extreme(fits, SymmetricGroups::n_groups) / static_cast<float>(scale_low));
  const float unit = inverse_of(to_float(groups.scale));
  for (int g = 0; g < SymmetricGroups::n_groups; ++g) {
    const int near = static_cast<int>(std::lround(std::clamp(fits[g] * unit, -255.0f, 255.0f)));
    float least = std::numeric_limits<float>::infinity();
    for (int s = std::max(near - 1, scale_low); s <= std::min(near + 1, scale_high); ++s) {
      const float error = symmetric_error<16>(x + 16 * g, to_float(groups.scale) * static_cast<float>(s),
                                              static_cast<float>(low), static_cast<float>(high));
      if (!(error < least)) continue;
      least = error;
      groups.scales[g] = static_cast<std::int8_t>(s);
    }
  }
  fit_block_scale(groups, x, low, high);
  for (int g = 0; g < SymmetricGroups::n_groups; ++g) {
    const float inverse = inverse_of(groups.group_scale(g));
    for (int i = 16 * g; i < 16 * (g + 1); i += 4)
      write_integers(assigned(x + i, 0, inverse, static_cast<float>(low), static_cast<float>(high)), -low,
                     groups.q + i);
  }
  return groups;
}

}  // namespace moebox::quant

// What is done row by row: norm, RoPE, SwiGLU, against their definitions in double, whose gradients are checked by
// finite differences.
#include "train/ops/latent_keys.h"
#include "train/ops/norm.h"
#include "train/ops/rope.h"
#include "train/ops/swiglu.h"
#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class RowOps : public TrainOps {};

using Doubles = std::vector<double>;

/// The gradient of sum(f(x) * d) at x, by differences in double.
template <class Function>
Doubles differences(Function f, Doubles x, const Doubles& d) {
  Doubles gradient;
  for (double& v : x) {
    const double old = v, step = 1e-5;
    double change = 0;
    for (const double sign : {1.0, -1.0}) {
      v = old + sign * step;
      const Doubles y = f(x);
      for (std::size_t i = 0; i < y.size(); ++i) change += sign * y[i] * d[i];
    }
    v = old;
    gradient.push_back(change / (2 * step));
  }
  return gradient;
}

void expect_close(const Doubles& a, const Doubles& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

// ---- norm ----

struct PlainNorm {
  Doubles y, dx, dw;
  double dx_terms = 0;  // the norm of what dx is the difference of
};
PlainNorm plain_norm(const Doubles& x, const Doubles& w, const Doubles& dy, std::size_t n, double epsilon) {
  PlainNorm r{x, x, Doubles(n)};
  for (std::size_t row = 0; row < x.size(); row += n) {
    double squares = 0, dot = 0;
    for (std::size_t i = 0; i < n; ++i) squares += x[row + i] * x[row + i];
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) dot += dy[row + i] * w[i] * x[row + i] * rstd;
    for (std::size_t i = 0; i < n; ++i) {
      const double h = x[row + i] * rstd;
      r.y[row + i] = h * w[i];
      r.dx[row + i] = rstd * (dy[row + i] * w[i] - h * dot / static_cast<double>(n));
      r.dw[i] += dy[row + i] * h;
      r.dx_terms = std::hypot(r.dx_terms, rstd * dy[row + i] * w[i]);
    }
  }
  return r;
}

template <class X, class Y>
std::vector<std::byte> check_norm(ops::Compute& compute, std::int64_t rows, std::int64_t n) {
  Random random(static_cast<std::uint64_t>(100 * rows + n));
  const auto x = random_values<X>(random, rows * n);
  const auto dy = random_values<Y>(random, rows * n);
  const auto w = random_values<float>(random, n);
  auto y = unwritten<Y>(rows * n);
  auto dx = unwritten<X>(rows * n);
  auto rstd = unwritten<float>(rows), dw = unwritten<float>(n);
  const float epsilon = 1e-5f;
  ops::rms_norm_forward(compute, rows_of(x, rows, n), w.data(), epsilon, rows_of(y, rows, n), rstd.data());
  ops::rms_norm_backward(compute, rows_of(dy, rows, n), rows_of(x, rows, n), w.data(), rstd.data(),
                         rows_of(dx, rows, n), dw.data(), false);
  const PlainNorm expected =
      plain_norm(doubles(x), doubles(w), doubles(dy), static_cast<std::size_t>(n), static_cast<double>(epsilon));
  const double sums = (4 * std::sqrt(static_cast<double>(n)) + 12) * unit;
  EXPECT_LE(distance(y, expected.y), sums + rounding<Y>);
  double dx_norm = 0;
  for (const double v : expected.dx) dx_norm = std::hypot(dx_norm, v);
  EXPECT_LE(distance(dx, expected.dx) * dx_norm, 2 * sums * expected.dx_terms + rounding<X> * dx_norm);
  EXPECT_LE(distance(dw, expected.dw), sums + 4 * std::sqrt(static_cast<double>(rows)) * unit);
  std::vector<float> twice = dw;
  ops::rms_norm_backward(compute, rows_of(dy, rows, n), rows_of(x, rows, n), w.data(), rstd.data(),
                         rows_of(dx, rows, n), twice.data(), true);
  EXPECT_LE(distance(twice,
                     [&] {
                       Doubles d = expected.dw;
                       for (double& v : d) v *= 2;
                       return d;
                     }()),
            sums + 4 * std::sqrt(static_cast<double>(rows)) * unit);
  std::vector<std::byte> bytes;
  append(bytes, y), append(bytes, dx), append(bytes, dw), append(bytes, rstd);
  return bytes;
}

TEST_P(RowOps, NormEqualsItsDefinition) {
  for (const std::int64_t rows : {0, 1, 5, 200}) {
    for (const std::int64_t n : {1, 16, 37, 128}) {
      SCOPED_TRACE(std::to_string(rows) + " " + std::to_string(n));
      check_norm<float, float>(compute_, rows, n);
      check_norm<float, BFloat16>(compute_, rows, n);
      check_norm<BFloat16, BFloat16>(compute_, rows, n);
    }
  }
}

TEST_P(RowOps, NormHasTheSameBitsOnAnyNumberOfThreads) {
  expect_same_bits(GetParam(), [](ops::Compute& compute) { return check_norm<float, float>(compute, 333, 45); });
  expect_same_bits(GetParam(), [](ops::Compute& compute) { return check_norm<float, BFloat16>(compute, 333, 45); });
  expect_same_bits(GetParam(), [](ops::Compute& compute) { return check_norm<BFloat16, BFloat16>(compute, 333, 45); });
}

TEST(RowReference, NormsGradientsEqualFiniteDifferences) {
  Random random(3);
  const Doubles x = doubles(random_values<float>(random, 15)), w = doubles(random_values<float>(random, 5));
  const Doubles dy = doubles(random_values<float>(random, 15));
  const PlainNorm r = plain_norm(x, w, dy, 5, 1e-5);
  expect_close(differences([&](const Doubles& v) { return plain_norm(v, w, dy, 5, 1e-5).y; }, x, dy), r.dx, 1e-7);
  expect_close(differences([&](const Doubles& v) { return plain_norm(x, v, dy, 5, 1e-5).y; }, w, dy), r.dw, 1e-7);
}

// ---- SwiGLU ----

template <class T>
std::vector<std::byte> check_swiglu(ops::Compute& compute, std::int64_t rows, std::int64_t width) {
  Random random(static_cast<std::uint64_t>(rows + 1000 * width));
  auto gate_up = random_values<T>(random, rows * 2 * width, 3);
  const auto d = random_values<T>(random, rows * width);
  if (!gate_up.empty()) gate_up[0] = rounded_to(T{}, -200);  // e^200 is infinite in float
  auto out = unwritten<T>(rows * width), d_gate_up = unwritten<T>(rows * 2 * width);
  const auto& in = gate_up;
  ops::swiglu_forward(compute, rows_of(in, rows, 2 * width), rows_of(out, rows, width));
  ops::swiglu_backward(compute, rows_of(d, rows, width), rows_of(in, rows, 2 * width),
                       rows_of(d_gate_up, rows, 2 * width));
  Doubles expected, expected_d(gate_up.size()), tolerance, tolerance_d(gate_up.size());
  for (std::int64_t i = 0; i < rows * width; ++i) {
    const auto g_at = static_cast<std::size_t>(i / width * 2 * width + i % width),
               u_at = g_at + static_cast<std::size_t>(width);
    const double g = value_of(gate_up[g_at]), u = value_of(gate_up[u_at]), s = 1 / (1 + std::exp(-g)),
                 dd = value_of(d[static_cast<std::size_t>(i)]);
    expected.push_back(g * s * u);
    expected_d[g_at] = dd * u * (s + g * s * (1 - s));
    expected_d[u_at] = dd * g * s;
    // e^x within 2 units; 1 - s and its sum with s lose up to |g| of them.
    tolerance.push_back((12 * unit + rounding<T>)*std::abs(expected.back()) + 1e-37);
    tolerance_d[g_at] =
        16 * unit * std::abs(dd * u) * (s + std::abs(g) * s) + rounding<T> * std::abs(expected_d[g_at]) + 1e-37;
    tolerance_d[u_at] = (12 * unit + rounding<T>)*std::abs(expected_d[u_at]) + 1e-37;
  }
  expect_near(out, expected, tolerance, "out");
  expect_near(d_gate_up, expected_d, tolerance_d, "d_gate_up");
  std::vector<std::byte> bytes;
  append(bytes, out), append(bytes, d_gate_up);
  return bytes;
}

TEST_P(RowOps, SwigluEqualsItsDefinition) {
  for (const std::int64_t rows : {0, 1, 3, 40}) {
    for (const std::int64_t width : {1, 16, 31, 96}) {
      check_swiglu<float>(compute_, rows, width);
      check_swiglu<BFloat16>(compute_, rows, width);
    }
  }
  expect_same_bits(GetParam(), [](ops::Compute& compute) { return check_swiglu<float>(compute, 67, 39); });
  expect_same_bits(GetParam(), [](ops::Compute& compute) { return check_swiglu<BFloat16>(compute, 67, 39); });
}

// ---- RoPE ----

struct RopeCase {
  std::int64_t tokens, heads, dim, half;
};

template <class T>
std::vector<std::byte> check_rope(ops::Compute& compute, RopeCase c, bool interleaved, bool with_positions) {
  const auto [tokens, heads, dim, half] = c;
  Random random(static_cast<std::uint64_t>(tokens + 100 * dim + half));
  const std::int64_t n_positions = 7;
  const auto x = random_values<T>(random, tokens * heads * dim);
  std::vector<float> cos, sin;
  for (std::int64_t i = 0; i < n_positions * half; ++i) {
    const double angle = 6.3 * random.uniform();
    cos.push_back(static_cast<float>(std::cos(angle)));
    sin.push_back(static_cast<float>(std::sin(angle)));
  }
  std::vector<std::int64_t> positions;
  for (std::int64_t t = 0; t < tokens; ++t)
    positions.push_back(with_positions ? (3 * t + 1) % n_positions : t % n_positions);
  const ops::RopeAngles angles{cos.data(), sin.data(), n_positions, half, interleaved};
  const std::int64_t* given = with_positions ? positions.data() : nullptr;
  auto y = unwritten<T>(tokens * heads * dim), back = x;
  ops::rope<T>(compute, angles, given, false, {x.data(), tokens, heads, dim}, {y.data(), tokens, heads, dim});
  ops::rope<T>(compute, angles, given, true, {back.data(), tokens, heads, dim},
               {back.data(), tokens, heads, dim});  // in place
  for (std::int64_t i = 0; i < tokens * heads; ++i) {
    for (std::int64_t j = 0; j < dim; ++j) {
      const auto at = static_cast<std::size_t>(i * dim + j);
      if (j >= 2 * half) {
        EXPECT_EQ(value_of(y[at]), value_of(x[at]));
        EXPECT_EQ(value_of(back[at]), value_of(x[at]));
        continue;
      }
      const std::int64_t pair = interleaved ? j / 2 : j % half;
      const bool second = interleaved ? j % 2 == 1 : j >= half;
      const auto other = static_cast<std::size_t>(i * dim + (interleaved ? (j ^ 1) : second ? j - half : j + half));
      const auto angle = static_cast<std::size_t>(positions[static_cast<std::size_t>(i / heads)] * half + pair);
      const double a = value_of(x[at]), b = value_of(x[other]), co = cos[angle], si = second ? sin[angle] : -sin[angle];
      const double expected = a * co + b * si, expected_back = a * co - b * si;
      const double tolerance = 2 * unit * (std::abs(a) + std::abs(b));
      EXPECT_NEAR(value_of(y[at]), expected, tolerance + rounding<T> * std::abs(expected));
      EXPECT_NEAR(value_of(back[at]), expected_back, tolerance + rounding<T> * std::abs(expected_back));
    }
  }
  std::vector<std::byte> bytes;
  append(bytes, y), append(bytes, back);
  return bytes;
}

TEST_P(RowOps, RopeRotatesPairsOfBothOrders) {
  for (const bool interleaved : {false, true}) {
    for (const RopeCase c : {RopeCase{0, 1, 4, 2},
                             {1, 1, 2, 1},
                             {9, 3, 16, 8},
                             {9, 2, 40, 13},
                             {5, 2, 70, 32},
                             {3, 1, 64, 31},
                             {4, 1, 8, 0}}) {
      check_rope<float>(compute_, c, interleaved, c.tokens == 9);
      check_rope<BFloat16>(compute_, c, interleaved, c.tokens == 9);
    }
    expect_same_bits(GetParam(), [&](ops::Compute& compute) {
      return check_rope<BFloat16>(compute, {70, 2, 40, 17}, interleaved, true);
    });
  }
}

TEST_P(RowOps, RopeRefusesPositionsWithoutAngles) {
  std::vector<float> angles(4), x(16);
  for (const std::int64_t position : {-1, 2}) {
    EXPECT_THROW(ops::rope<float>(compute_, {angles.data(), angles.data(), 2, 2, false}, &position, false,
                                  {x.data(), 1, 1, 8}, {x.data(), 1, 1, 8}),
                 Error);
  }
  EXPECT_THROW(ops::rope<float>(compute_, {angles.data(), angles.data(), 1, 4, false}, nullptr, false,
                                {x.data(), 1, 2, 7}, {x.data(), 1, 2, 7}),
               Error);
}

TEST_P(RowOps, RopeLeavesWhatStandsBeforeTheRotatedPart) {
  const std::vector<float> x = random_values<float>(random_, 10), cos = {0, 0}, sin = {1, 1};
  std::vector<float> y(10);
  ops::rope<float>(compute_, {cos.data(), sin.data(), 1, 2, true, 3}, nullptr, false, {x.data(), 1, 1, 10},
                   {y.data(), 1, 1, 10});
  EXPECT_EQ(y, (std::vector<float>{x[0], x[1], x[2], -x[4], x[3], -x[6], x[5], x[7], x[8], x[9]}));
}

template <class T>
std::vector<std::byte> check_latent_keys(ops::Compute& compute, std::int64_t tokens, std::int64_t heads,
                                         std::int64_t own, std::int64_t shared) {
  Random random(5);
  const auto kv = random_values<T>(random, tokens * heads * (own + 3)),
             rope = random_values<T>(random, tokens * shared);
  const auto d_keys = random_values<T>(random, tokens * heads * (own + shared));
  auto keys = unwritten<T>(tokens * heads * (own + shared)), d_kv = kv, d_rope = unwritten<T>(tokens * shared);
  ops::latent_keys_forward<T>(compute, {kv.data(), tokens, heads, own, heads * (own + 3), own + 3},
                              {rope.data(), tokens, 1, shared}, {keys.data(), tokens, heads, own + shared});
  ops::latent_keys_backward<T>(compute, {d_keys.data(), tokens, heads, own + shared},
                               {d_kv.data(), tokens, heads, own, heads * (own + 3), own + 3},
                               {d_rope.data(), tokens, 1, shared});
  const auto at = [](const std::vector<T>& v, std::int64_t i) { return value_of(v[static_cast<std::size_t>(i)]); };
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < heads * (own + shared); ++i) {
      const std::int64_t h = i / (own + shared), d = i % (own + shared), row = (t * heads + h) * (own + 3);
      EXPECT_EQ(at(keys, t * heads * (own + shared) + i), d < own ? at(kv, row + d) : at(rope, t * shared + d - own));
      if (d < own) {
        EXPECT_EQ(at(d_kv, row + d), at(d_keys, t * heads * (own + shared) + i));
      }
    }
    for (std::int64_t d = 0; d < shared; ++d) {
      double sum = 0, size = 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        const double v = at(d_keys, (t * heads + h) * (own + shared) + own + d);
        sum += v, size += std::abs(v);
      }
      EXPECT_NEAR(at(d_rope, t * shared + d), sum,
                  static_cast<double>(heads) * unit * size + rounding<T> * std::abs(sum));
    }
  }
  std::vector<std::byte> bytes;
  append(bytes, keys), append(bytes, d_kv), append(bytes, d_rope);
  return bytes;
}

TEST_P(RowOps, LatentKeysHaveAPartThatAllHeadsShare) {
  check_latent_keys<float>(compute_, 0, 2, 4, 4);
  check_latent_keys<float>(compute_, 1, 1, 16, 8);
  check_latent_keys<BFloat16>(compute_, 3, 4, 5, 18);
  expect_same_bits(GetParam(),
                   [](ops::Compute& compute) { return check_latent_keys<BFloat16>(compute, 70, 3, 7, 33); });
}

MOEBOX_FOR_ALL_ISAS(RowOps);

}  // namespace
}  // namespace moebox::test

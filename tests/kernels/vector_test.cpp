#include <limits>

#include <gtest/gtest.h>

#include "kernel_cases.h"

namespace moebox::test {
namespace {

constexpr double unit = 0x1p-24;  // half a unit in the last place of 1

class Vector : public ::testing::TestWithParam<Isa> {
 protected:
  const KernelTable& table_ = kernel_table(GetParam());
  const KernelTable& scalar_ = kernel_table(Isa::scalar);
  Random random_{31};
};

// The sum of n squares by n / 16 fma and a tree is off by at most (n / 16 + 5) units; half of that after the root; then
// four roundings.
TEST_P(Vector, RmsNorm) {
  for (const int n : {1, 7, 16, 33, 576, 896}) {
    const std::vector<float> x = gaussians(random_, static_cast<std::size_t>(n)), w = gaussians(random_, x.size());
    std::vector<float> out(x.size() + 1, 5), same(x.size() + 1, 5);
    table_.rms_norm(x.data(), w.data(), 1e-5f, n, out.data());
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * v;
    const double factor = 1 / std::sqrt(squares / n + static_cast<double>(1e-5f));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = static_cast<double>(x[i]) * factor * static_cast<double>(w[i]);
      ASSERT_NEAR(out[i], expected, (n / 16 + 12) * unit * std::abs(expected)) << i << " of " << n;
    }
    EXPECT_EQ(out.back(), 5);
    scalar_.rms_norm(x.data(), w.data(), 1e-5f, n, same.data());
    EXPECT_TRUE(same_bits(out, same));
  }
}

TEST_P(Vector, Add) {
  for (const int n : {1, 15, 16, 100}) {
    const std::vector<float> x = gaussians(random_, static_cast<std::size_t>(n)), y = gaussians(random_, x.size());
    std::vector<float> sum = x;
    table_.add(sum.data(), y.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(sum[i], x[i] + y[i]);
  }
}

// exp within 2 units in the last place (4 halves), three more roundings of half a unit each.
TEST_P(Vector, Swiglu) {
  for (const int n : {1, 16, 31, 1536}) {
    std::vector<float> gate = gaussians(random_, static_cast<std::size_t>(n)), up = gaussians(random_, gate.size());
    for (std::size_t i = 0; i < gate.size(); i += 3) gate[i] *= 10;
    std::vector<float> out(gate.size()), same(gate.size()), in_place = gate;
    table_.swiglu(gate.data(), up.data(), n, out.data());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i], expected = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      ASSERT_NEAR(out[i], expected, 8 * unit * std::abs(expected) + 1e-37) << g;
    }
    scalar_.swiglu(gate.data(), up.data(), n, same.data());
    EXPECT_TRUE(same_bits(out, same));
    table_.swiglu(in_place.data(), up.data(), n, in_place.data());
    EXPECT_TRUE(same_bits(out, in_place));
  }
}

// silu(g) = g / (1 + exp(-g)) shows exp over its whole range, and its ends.
TEST_P(Vector, ExpOverItsRange) {
  std::vector<float> gate, ones;
  for (double g = -120; g <= 120; g += 0.0173) gate.push_back(static_cast<float>(g));
  for (const float g : {0.0f, -0.0f, 1e-40f, -88.72f, -88.8f, 86.6f, 86.7f, 3e38f, infinity, std::nanf("")})
    gate.push_back(g);
  ones.assign(gate.size(), 1.0f);
  std::vector<float> out(gate.size()), same(gate.size());
  table_.swiglu(gate.data(), ones.data(), static_cast<int>(gate.size()), out.data());
  scalar_.swiglu(gate.data(), ones.data(), static_cast<int>(gate.size()), same.data());
  EXPECT_TRUE(same_bits(out, same));
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i], expected = std::isinf(g) ? infinity : g / (1 + std::exp(-g));
    if (std::isnan(g)) {
      EXPECT_TRUE(std::isnan(out[i]));
    } else if (std::isinf(expected)) {
      EXPECT_EQ(out[i], infinity);
    } else {
      EXPECT_NEAR(out[i], expected, 8 * unit * std::abs(expected) + 3e-37) << g;
    }
  }
}

TEST_P(Vector, Rope) {
  for (const bool interleaved : {false, true}) {
    for (const int dim : {2, 8, 32, 40, 64, 128}) {
      const int half = dim / 2;
      std::vector<float> head = gaussians(random_, static_cast<std::size_t>(dim) + 6), turned = head, same = head;
      std::vector<float> cos, sin;
      for (int i = 0; i < half; ++i) {
        const double angle = 123 * std::pow(10000.0, -2.0 * i / dim);
        cos.push_back(static_cast<float>(std::cos(angle)));
        sin.push_back(static_cast<float>(std::sin(angle)));
      }
      table_.rope(turned.data(), cos.data(), sin.data(), dim, interleaved);
      for (int i = 0; i < half; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const std::size_t a = interleaved ? 2 * at : at, b = interleaved ? a + 1 : at + static_cast<std::size_t>(half);
        const double x = head[a], y = head[b], c = cos[at], s = sin[at];
        // One product rounded, one fma: two units of what is added.
        const double tolerance = 2 * unit * (std::abs(x) + std::abs(y));
        ASSERT_NEAR(turned[a], x * c - y * s, tolerance) << i;
        ASSERT_NEAR(turned[b], x * s + y * c, tolerance) << i;
      }
      for (std::size_t i = static_cast<std::size_t>(dim); i < head.size(); ++i) EXPECT_EQ(turned[i], head[i]);
      scalar_.rope(same.data(), cos.data(), sin.data(), dim, interleaved);
      EXPECT_TRUE(same_bits(turned, same));
    }
  }
}

TEST_P(Vector, ArgmaxIsTheFirstOfTheLargest) {
  for (const int n : {1, 2, 16, 17, 49152, 151936}) {
    std::vector<float> x = gaussians(random_, static_cast<std::size_t>(n));
    for (int round = 0; round < 8; ++round) {
      const int first = random_.below(n), second = random_.below(n);
      std::vector<float> y = x;
      y[static_cast<std::size_t>(first)] = y[static_cast<std::size_t>(second)] = 1000;
      EXPECT_EQ(table_.argmax(y.data(), n), std::min(first, second));
    }
  }
  std::vector<float> x(40, -infinity);
  EXPECT_EQ(table_.argmax(x.data(), 40), 0);
  x[39] = -5;
  EXPECT_EQ(table_.argmax(x.data(), 40), 39);
  x[3] = std::nanf("");
  EXPECT_EQ(table_.argmax(x.data(), 40), 39);
  EXPECT_EQ(table_.argmax(std::vector<float>(20, std::nanf("")).data(), 20), 0);
}

// Sums of at most 4096 / 16 addends in a float, each within 5 units; the logarithm turns a relative error into an
// absolute one.
TEST_P(Vector, LogSumExp) {
  for (const int n : {1, 5, 16, 100, 4096, 4097, 151936}) {
    for (const float shift : {0.0f, 80.0f, -3000.0f}) {
      std::vector<float> x = gaussians(random_, static_cast<std::size_t>(n));
      for (float& v : x) v = v * 3 + shift;
      double largest = -1e300, sum = 0;
      for (const float v : x) largest = std::max<double>(largest, v);
      for (const float v : x) sum += std::exp(static_cast<double>(v) - largest);
      const double expected = largest + std::log(sum);
      const float found = table_.log_sum_exp(x.data(), n);
      EXPECT_NEAR(found, expected, (4096 / 16 + 16) * unit + 4 * unit * std::abs(expected)) << n << " " << shift;
      EXPECT_EQ(found, scalar_.log_sum_exp(x.data(), n));
    }
  }
  EXPECT_EQ(table_.log_sum_exp(std::vector<float>(9, -infinity).data(), 9), -infinity);
  const std::vector<float> bad = {1, std::nanf(""), 2};
  EXPECT_TRUE(std::isnan(table_.log_sum_exp(bad.data(), 3)));
  const std::vector<float> high = {1, infinity, 2};
  EXPECT_EQ(table_.log_sum_exp(high.data(), 3), infinity);
}

INSTANTIATE_TEST_SUITE_P(Isas, Vector, ::testing::ValuesIn(available_isas().begin(), available_isas().end()), isa_name);

}  // namespace
}  // namespace moebox::test

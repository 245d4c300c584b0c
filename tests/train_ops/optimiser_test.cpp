// AdamW and the norm of gradients, against their definitions in double.
#include "train/ops/optimiser.h"

#include <limits>

#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class OptimiserOps : public TrainOps {};

struct State {
  std::vector<float> weights, gradients, m, v;
  std::vector<BFloat16> copy;

  State(std::int64_t n, std::uint64_t seed) {
    Random random(seed);
    weights = random_values<float>(random, n), gradients = random_values<float>(random, n, 0.1f);
    m = random_values<float>(random, n, 0.01f), v = random_values<float>(random, n);
    for (float& x : v) x = x * x * 1e-3f;
    copy.resize(static_cast<std::size_t>(n));
  }
  void step(ops::Compute& compute, const ops::AdamW& settings) {
    ops::adamw(compute, settings, static_cast<std::int64_t>(weights.size()), weights.data(), gradients.data(), m.data(),
               v.data(), copy.empty() ? nullptr : copy.data());
  }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    append(all, weights), append(all, gradients), append(all, m), append(all, v), append(all, copy);
    return all;
  }
};

TEST_P(OptimiserOps, AdamWEqualsItsDefinition) {
  const ops::AdamW settings{0.01, 0.9, 0.95, 1e-8, 0.1, 7, 0.5, false};
  for (const std::int64_t n : {0, 1, 15, 16, 100, 40000}) {
    const State before(n, 3);
    State after = before;
    after.step(compute_, settings);
    for (std::size_t i = 0; i < before.weights.size(); ++i) {
      const double g = 0.5 * static_cast<double>(before.gradients[i]);
      const double m = 0.9 * static_cast<double>(before.m[i]) + 0.1 * g,
                   v = 0.95 * static_cast<double>(before.v[i]) + 0.05 * g * g;
      const double change = m / (1 - std::pow(0.9, 7)) / (std::sqrt(v / (1 - std::pow(0.95, 7))) + 1e-8);
      const double w = static_cast<double>(before.weights[i]) * (1 - 0.01 * 0.1) - 0.01 * change;
      ASSERT_NEAR(after.m[i], m, 4 * unit * (std::abs(m) + std::abs(g)));
      ASSERT_NEAR(after.v[i], v, 6 * unit * v);
      ASSERT_NEAR(after.weights[i], w, 4 * unit * std::abs(w) + 20 * unit * 0.01 * (std::abs(change) + 1));
      ASSERT_EQ(to_float(after.copy[i]), to_float(to_bfloat16(after.weights[i])));
      ASSERT_EQ(after.gradients[i], before.gradients[i]);
    }
  }
}

TEST_P(OptimiserOps, GradientsAreClearedOnRequestAndTheCopyIsAChoice) {
  State state(33, 5), with_copy = state;
  state.copy.clear();
  const ops::AdamW settings{0.01, 0.9, 0.999, 1e-8, 0, 1, 1, true};
  state.step(compute_, settings);
  with_copy.step(compute_, settings);
  EXPECT_TRUE(same_bytes(state.weights, with_copy.weights));
  for (const float g : state.gradients) EXPECT_EQ(g, 0);
}

TEST_P(OptimiserOps, TheSameBitsOnAnyNumberOfThreads) {
  expect_same_bits(GetParam(), [](ops::Compute& compute) {
    State state(70001, 11);
    state.step(compute, {0.01, 0.9, 0.999, 1e-8, 0.01, 3, 0.7, false});
    std::vector<std::byte> bytes = state.bytes();
    append(bytes, std::vector<double>{ops::sum_squares(compute, state.gradients.data(), 70001)});
    return bytes;
  });
}

TEST_P(OptimiserOps, SumOfSquares) {
  for (const std::int64_t n : {0, 1, 17, 1025, 50000}) {
    const std::vector<float> x = random_values<float>(random_, n);
    double sum = 0;
    for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
    EXPECT_NEAR(ops::sum_squares(compute_, x.data(), n), sum, 40 * unit * sum);
  }
  for (const float bad : {std::nanf(""), infinity, -infinity}) {
    std::vector<float> x(20000, 1);
    x[17000] = bad;
    EXPECT_FALSE(std::isfinite(ops::sum_squares(compute_, x.data(), 20000)));
  }
}

MOEBOX_FOR_ALL_ISAS(OptimiserOps);

}  // namespace
}  // namespace moebox::test

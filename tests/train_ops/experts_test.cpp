// The grouped experts, against one plain loop over tokens in double, whose gradients are checked by finite differences.
#include "train/ops/experts.h"

#include <algorithm>

#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class ExpertOps : public TrainOps {};

struct ExpertSizes {
  int tokens, top_k, experts, hidden, width;
};

// A problem in double: numbers that T can hold.
struct Problem {
  ExpertSizes s;
  std::vector<std::int64_t> ids;
  std::vector<double> x, weights, gate_up, down, d_out;

  double d_of(int token, int h) const { return d_out[static_cast<std::size_t>(token * s.hidden + h)]; }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

struct PlainExperts {
  std::vector<double> out, dx, d_weights, d_gate_up, d_down;
  double objective = 0;  // sum of out * d_out
};

PlainExperts plain_experts(const Problem& p) {
  const auto [tokens, top_k, experts, hidden, width] = p.s;
  PlainExperts r;
  r.out.resize(p.x.size()), r.dx.resize(p.x.size()), r.d_weights.resize(p.weights.size());
  r.d_gate_up.resize(p.gate_up.size()), r.d_down.resize(p.down.size());
  const auto at = [](auto& v, std::int64_t i) -> auto& { return v[static_cast<std::size_t>(i)]; };
  for (int t = 0; t < tokens; ++t) {
    for (int j = 0; j < top_k; ++j) {
      const std::int64_t e = at(p.ids, t * top_k + j), slot = t * top_k + j;
      if (e < 0) continue;
      const double weight = at(p.weights, slot);
      const std::int64_t gate_at = e * 2 * width * hidden, up_at = gate_at + width * hidden,
                         down_at = e * hidden * width;
      for (int w = 0; w < width; ++w) {
        double gate = 0, up = 0, d_inner = 0;
        for (int h = 0; h < hidden; ++h) {
          gate += at(p.gate_up, gate_at + w * hidden + h) * at(p.x, t * hidden + h);
          up += at(p.gate_up, up_at + w * hidden + h) * at(p.x, t * hidden + h);
          d_inner += at(p.down, down_at + h * width + w) * p.d_of(t, h);
        }
        const double inner = silu(gate) * up, s = 1 / (1 + std::exp(-gate));
        const double d_up = weight * d_inner * silu(gate), d_gate = weight * d_inner * up * (s + gate * s * (1 - s));
        at(r.d_weights, slot) += d_inner * inner;
        for (int h = 0; h < hidden; ++h) {
          at(r.out, t * hidden + h) += weight * inner * at(p.down, down_at + h * width + w);
          at(r.d_down, down_at + h * width + w) += weight * inner * p.d_of(t, h);
          at(r.d_gate_up, gate_at + w * hidden + h) += d_gate * at(p.x, t * hidden + h);
          at(r.d_gate_up, up_at + w * hidden + h) += d_up * at(p.x, t * hidden + h);
          at(r.dx, t * hidden + h) +=
              d_gate * at(p.gate_up, gate_at + w * hidden + h) + d_up * at(p.gate_up, up_at + w * hidden + h);
        }
      }
    }
  }
  for (std::size_t i = 0; i < r.out.size(); ++i) r.objective += r.out[i] * p.d_out[i];
  return r;
}

template <class T>
struct Operands {
  std::vector<T> x, gate_up, down, d_out;
  std::vector<float> weights;
  Problem problem;

  Operands(Random& random, ExpertSizes s, const std::function<std::int64_t(int)>& choose) {
    x = random_values<T>(random, s.tokens * s.hidden);
    const float size = 1 / std::sqrt(static_cast<float>(s.hidden));
    gate_up = random_values<T>(random, s.experts * 2 * s.width * s.hidden, size);
    down = random_values<T>(random, s.experts * s.hidden * s.width, size);
    d_out = random_values<T>(random, s.tokens * s.hidden);
    weights = random_values<float>(random, s.tokens * s.top_k);
    std::vector<std::int64_t> ids;
    for (int slot = 0; slot < s.tokens * s.top_k; ++slot) ids.push_back(choose(slot));
    problem = {s, ids, doubles(x), doubles(weights), doubles(gate_up), doubles(down), doubles(d_out)};
  }
};

template <class T>
struct Outputs {
  std::vector<T> out, dx;
  std::vector<float> d_weights, d_gate_up, d_down;

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    append(all, out), append(all, dx), append(all, d_weights), append(all, d_gate_up), append(all, d_down);
    return all;
  }
};

template <class T>
Outputs<T> run_experts(ops::Compute& compute, const Operands<T>& o, float before = std::nanf("")) {
  const ExpertSizes s = o.problem.s;
  const ops::ExpertPlan plan = ops::plan_experts(o.problem.ids.data(), s.tokens, s.top_k, s.experts);
  const ops::ExpertWeights<T> weights{s.hidden, s.width, o.gate_up.data(), o.down.data()};
  Outputs<T> r{unwritten<T>(s.tokens * s.hidden), unwritten<T>(s.tokens * s.hidden),
               unwritten<float>(s.tokens * s.top_k), std::vector<float>(o.gate_up.size(), before),
               std::vector<float>(o.down.size(), before)};
  auto saved = unwritten<T>(plan.n_rows() * 2 * s.width);
  const auto x = rows_of(o.x, s.tokens, s.hidden);
  ops::experts_forward(compute, plan, weights, x, o.weights.data(), saved.data(), rows_of(r.out, s.tokens, s.hidden));
  ops::experts_backward<T>(compute, plan, weights, x, o.weights.data(), saved.data(),
                           rows_of(o.d_out, s.tokens, s.hidden),
                           {rows_of(r.dx, s.tokens, s.hidden), r.d_weights.data(), r.d_gate_up.data(), r.d_down.data(),
                            !std::isnan(before)});
  return r;
}

// Five roundings of stored values on the way to the weights' gradients in BF16; sums of floats else.
template <class T>
void expect_equal_to(const Outputs<T>& found, const PlainExperts& expected) {
  const double limit = sizeof(T) == 4 ? 4e-6 : 5 * 0x1p-8;
  EXPECT_LT(distance(found.out, expected.out), limit);
  EXPECT_LT(distance(found.dx, expected.dx), limit);
  EXPECT_LT(distance(found.d_weights, expected.d_weights), limit);
  EXPECT_LT(distance(found.d_gate_up, expected.d_gate_up), limit);
  EXPECT_LT(distance(found.d_down, expected.d_down), limit);
}

struct ExpertCase {
  const char* name;
  ExpertSizes sizes;
  std::function<std::int64_t(int slot, Random& random)> choose;
};
const std::vector<ExpertCase>& cases() {
  static const std::vector<ExpertCase> all = {
      {"uniform", {40, 2, 5, 48, 32}, [](int, Random& random) { return random.below(5); }},
      {"tails", {33, 3, 7, 37, 19}, [](int, Random& random) { return random.below(7); }},
      {"one expert has nearly all", {600, 1, 4, 20, 18}, [](int slot, Random&) { return slot % 50 == 0 ? 3 : 1; }},
      {"some chose fewer, some none", {29, 3, 4, 16, 16}, [](int, Random& random) { return random.below(5) - 1; }},
      {"nobody chose anything", {3, 2, 3, 8, 8}, [](int, Random&) { return -1; }},
      {"one token", {1, 1, 2, 5, 3}, [](int, Random&) { return 1; }},
      {"no tokens", {0, 2, 3, 8, 8}, [](int, Random&) { return 0; }},
  };
  return all;
}

template <class T>
Operands<T> operands(const ExpertCase& c, std::uint64_t seed) {
  Random random(seed), choices(seed + 1);
  return {random, c.sizes, [&](int slot) { return c.choose(slot, choices); }};
}

TEST_P(ExpertOps, EqualThePlainLoop) {
  for (const ExpertCase& c : cases()) {
    SCOPED_TRACE(c.name);
    const auto floats = operands<float>(c, 3);
    expect_equal_to(run_experts(compute_, floats), plain_experts(floats.problem));
    const auto bfloats = operands<BFloat16>(c, 3);
    expect_equal_to(run_experts(compute_, bfloats), plain_experts(bfloats.problem));
  }
}

TEST_P(ExpertOps, GradientsAreAddedOnRequest) {
  const auto o = operands<float>(cases()[3], 5);
  const Outputs<float> from_nothing = run_experts(compute_, o), to_two = run_experts(compute_, o, 2.0f);
  for (std::size_t i = 0; i < to_two.d_down.size(); ++i) ASSERT_EQ(to_two.d_down[i], 2 + from_nothing.d_down[i]);
  for (std::size_t i = 0; i < to_two.d_gate_up.size(); ++i)
    ASSERT_EQ(to_two.d_gate_up[i], 2 + from_nothing.d_gate_up[i]);
}

TEST_P(ExpertOps, ExpertsWithoutTokensHaveGradientZero) {
  const auto o = operands<BFloat16>(cases()[2], 5);
  const Outputs<BFloat16> found = run_experts(compute_, o);
  const ExpertSizes s = o.problem.s;
  for (const int expert : {0, 2}) {
    const auto first = found.d_down.begin() + expert * s.hidden * s.width;
    EXPECT_TRUE(std::all_of(first, first + s.hidden * s.width, [](float v) { return v == 0; })) << expert;
  }
}

TEST_P(ExpertOps, TheSameBitsOnAnyNumberOfThreads) {
  for (const int c : {1, 2}) {
    const auto floats = operands<float>(cases()[static_cast<std::size_t>(c)], 9);
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return run_experts(compute, floats).bytes(); });
    const auto bfloats = operands<BFloat16>(cases()[static_cast<std::size_t>(c)], 9);
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return run_experts(compute, bfloats).bytes(); });
  }
}

TEST_P(ExpertOps, AnIdThatIsNoExpertIsAnError) {
  for (const std::int64_t id : {-2, 4}) {
    const std::int64_t ids[] = {0, id};
    EXPECT_THROW(ops::plan_experts(ids, 1, 2, 4), Error);
  }
}

MOEBOX_FOR_ALL_ISAS(ExpertOps);

// The reference itself: its gradients are those of its output.
TEST(ExpertReference, GradientsEqualFiniteDifferences) {
  Problem p =
      operands<float>({"", {3, 2, 3, 4, 3}, [](int, Random& random) { return random.below(4) - 1; }}, 11).problem;
  const PlainExperts r = plain_experts(p);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradients) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double old = values[i], step = 1e-5;
      values[i] = old + step;
      const double above = plain_experts(p).objective;
      values[i] = old - step;
      const double below = plain_experts(p).objective;
      values[i] = old;
      ASSERT_NEAR((above - below) / (2 * step), gradients[i], 1e-7) << i;
    }
  };
  check(p.x, r.dx);
  check(p.weights, r.d_weights);
  check(p.gate_up, r.d_gate_up);
  check(p.down, r.d_down);
}

}  // namespace
}  // namespace moebox::test

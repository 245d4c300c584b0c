// The gate in training: routing's bits forward, the plain formula's gradient backward.
#include "train/gate.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "train/balance.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

struct GateCase {
  std::string name;
  GateSpec spec;
  bool has_bias = false;
  RoutingBudget budget{};
};

std::vector<GateCase> gate_cases() {
  GateSpec softmax{.n_experts = 16, .top_k = 4};
  GateSpec normalized = softmax;
  normalized.normalize = true;
  GateSpec groups{.n_experts = 16, .top_k = 4, .n_groups = 4, .top_groups = 2, .scale = 16.0f};
  GateSpec v3{.n_experts = 32,
              .top_k = 6,
              .score = GateScore::sigmoid,
              .n_groups = 8,
              .top_groups = 4,
              .group_score = GroupScore::sum_of_best2,
              .normalize = true,
              .scale = 2.5f};
  GateSpec unnormalized = v3;
  unnormalized.normalize = false;
  return {{"softmax", softmax},
          {"softmax_normalized", normalized},
          {"softmax_groups", groups},
          {"sigmoid_groups_bias", v3, true},
          {"sigmoid_unnormalized", unnormalized, true},
          {"softmax_top_p", normalized, false, {.top_p = 0.7f}},
          {"sigmoid_threshold", v3, true, {.threshold = 0.85f, .min_experts = 2}},
          {"sigmoid_fewer", v3, true, {.max_experts = 3}}};
}

class TrainedGate : public ::testing::TestWithParam<GateCase> {
 protected:
  static constexpr std::int64_t n_tokens = 300;  // several tasks
  const GateSpec& spec() const { return GetParam().spec; }
  Tensor logits() const { return normal({n_tokens, spec().n_experts}, 1) * 2; }
  Tensor bias() const { return GetParam().has_bias ? normal({spec().n_experts}, 2) * 0.1 : Tensor(); }
};

TEST_P(TrainedGate, ChoosesAsTheEngineBitForBit) {
  const Tensor all_logits = logits(), all_bias = bias();
  const Threads three(3);
  const GateOutput output = apply_gate(spec(), all_logits, all_bias, GetParam().budget);
  GateScratch scratch(spec());
  std::vector<ChosenExpert> chosen(static_cast<std::size_t>(spec().top_k));
  const auto n_experts = static_cast<std::size_t>(spec().n_experts);
  const std::span<const float> bias_values(all_bias.defined() ? all_bias.const_data_ptr<float>() : nullptr,
                                           all_bias.defined() ? n_experts : 0);
  int n_fewer = 0;
  for (std::int64_t token = 0; token < n_tokens; ++token) {
    const Tensor row = all_logits[token];
    const GateChoice choice = choose_experts(spec(), std::span(row.const_data_ptr<float>(), n_experts), bias_values,
                                             GetParam().budget, scratch, chosen);
    n_fewer += choice.n_experts < spec().top_k ? 1 : 0;
    for (int i = 0; i < spec().top_k; ++i) {
      const bool is_there = i < choice.n_experts;
      ASSERT_EQ(output.ids[token][i].item<std::int64_t>(), is_there ? chosen[static_cast<std::size_t>(i)].expert : -1);
      ASSERT_EQ(output.weights[token][i].item<float>(), is_there ? chosen[static_cast<std::size_t>(i)].weight : 0.0f);
    }
    ASSERT_EQ(output.dropped_share[token].item<float>(), choice.dropped_share);
  }
  EXPECT_EQ(n_fewer > 0, !GetParam().budget.drops_nothing());
}

TEST_P(TrainedGate, ARecomputeKeepsTheChoiceAndTheBits) {
  const GateOutput first = apply_gate(spec(), logits(), bias(), GetParam().budget);
  // Another bias would choose others: with the ids given nobody is asked.
  const GateOutput again = apply_gate(spec(), logits(), normal({spec().n_experts}, 9), {}, {}, first.ids);
  EXPECT_TRUE(same_bits(again.ids, first.ids));
  EXPECT_TRUE(same_bits(again.weights, first.weights));
}

/// The weights of given experts by the formula of docs/routing.md, in torch's operators.
Tensor plain_weights(const GateSpec& spec, const Tensor& logits, const Tensor& ids) {
  const Tensor scores = spec.score == GateScore::softmax ? at::softmax(logits, 1) : at::sigmoid(logits);
  const Tensor is_there = ids.ge(0).to(logits.scalar_type());
  Tensor weights = scores.gather(1, ids.clamp_min(0)) * is_there;
  if (spec.normalize) weights = weights / (weights.sum(1, true) + 1e-20);
  return weights * static_cast<double>(spec.scale);
}

TEST_P(TrainedGate, GradientIsThatOfThePlainFormula) {
  const Tensor single = logits().requires_grad_(true), twice = logits().to(at::kDouble).requires_grad_(true);
  const GateOutput output = apply_gate(spec(), single, bias(), GetParam().budget);
  const Tensor weight_gradient = normal({n_tokens, spec().top_k}, 3);
  (output.weights * weight_gradient).sum().backward();
  (plain_weights(spec(), twice, output.ids) * weight_gradient.to(at::kDouble)).sum().backward();
  // The forward's scores are rounded to float32, by 2^-25 at most. That is an absolute error of 1 - score, of the
  // scores' sum and of the score itself; what it is multiplied by is about scale times the weight's gradient.
  EXPECT_LE(distance(single.grad(), twice.grad()),
            4 * 0x1p-25 * std::abs(static_cast<double>(spec().scale)) * length_of(weight_gradient));
  EXPECT_GT(length_of(twice.grad()), 1.0);
}

TEST_P(TrainedGate, GradientIsThatOfFiniteDifferences) {
  const Tensor point = logits().narrow(0, 0, 8).contiguous();
  const Tensor single = point.clone().requires_grad_(true);
  const GateOutput output = apply_gate(spec(), single, bias(), GetParam().budget);
  const Tensor weight_gradient = normal({8, spec().top_k}, 4);
  (output.weights * weight_gradient).sum().backward();
  // Of routing's own numbers, with the choice held: a step of 2^-6 errs by its square, 2^-12, and by rounding over it.
  constexpr double step = 0x1p-6;
  for (std::int64_t e = 0; e < spec().n_experts; ++e) {
    const auto moved = [&](double by) {
      const Tensor there = point.clone();
      there.select(1, e).add_(by);
      return (apply_gate(spec(), there, {}, {}, {}, output.ids).weights * weight_gradient).sum(1).to(at::kDouble);
    };
    const Tensor slope = (moved(step) - moved(-step)) / (2 * step);
    EXPECT_LE((slope - single.grad().select(1, e)).abs().max().item<double>(),
              0x1p-10 * std::abs(static_cast<double>(spec().scale)));
  }
}

TEST_P(TrainedGate, PaddingHasNoExpertsAndNoGradient) {
  const Tensor valid = at::arange(n_tokens, at::kLong).remainder(3).ne(0);
  const Tensor leaf = logits().requires_grad_(true);
  const GateOutput output = apply_gate(spec(), leaf, bias(), GetParam().budget, valid);
  const GateOutput all = apply_gate(spec(), logits(), bias(), GetParam().budget);
  const Tensor padding = valid.logical_not().nonzero().squeeze(1), tokens = valid.nonzero().squeeze(1);
  EXPECT_TRUE(output.ids.index_select(0, padding).eq(-1).all().item<bool>());
  EXPECT_TRUE(same_bits(output.ids.index_select(0, tokens), all.ids.index_select(0, tokens)));
  const Tensor load = expert_load(output.ids, spec().n_experts);
  EXPECT_EQ(load.sum().item<std::int64_t>(), output.ids.ge(0).sum().item<std::int64_t>());
  EXPECT_TRUE(same_bits(load, expert_load(all.ids.index_select(0, tokens), spec().n_experts)));
  output.weights.square().sum().backward();
  EXPECT_EQ(length_of(leaf.grad().index_select(0, padding)), 0.0);
}

INSTANTIATE_TEST_SUITE_P(Train, TrainedGate, ::testing::ValuesIn(gate_cases()),
                         [](const auto& info) { return info.param.name; });

// ---- balance ----

TEST(Balance, LossIsOneWhenAllExpertsAreUsedAlike) {
  const GateSpec spec{.n_experts = 4, .top_k = 2};
  const Tensor logits = at::zeros({8, 4});
  const Tensor ids = at::arange(8, at::kLong).remainder(2).unsqueeze(1) * 2 + at::arange(2, at::kLong).unsqueeze(0);
  EXPECT_NEAR(balance_loss(spec, logits, ids, {}, 2).item<double>(), 1.0, 1e-6);
}

TEST(Balance, LossIsThatOfTheFormula) {
  constexpr std::int64_t batch = 2, length = 6;
  const GateSpec spec{.n_experts = 8, .top_k = 2, .score = GateScore::sigmoid};
  const Tensor logits = normal({batch * length, 8}, 5);
  const Tensor valid = at::ones({batch * length}, at::kBool);
  valid.narrow(0, 10, 2).fill_(false);  // the second sequence ends in padding
  const Tensor ids = apply_gate(spec, logits, {}, {}, valid).ids;
  double expected = 0;
  for (std::int64_t s = 0; s < batch; ++s) {
    const std::int64_t n = s == 0 ? 6 : 4;
    for (std::int64_t i = 0; i < 8; ++i) {
      double chosen = 0, share = 0;
      for (std::int64_t t = s * length; t < s * length + n; ++t) {
        const Tensor scores = at::sigmoid(logits[t].to(at::kDouble));
        share += (scores[i] / scores.sum()).item<double>() / static_cast<double>(n);
        chosen += ids[t].eq(i).sum().item<double>();
      }
      expected += chosen * 8.0 / (2.0 * static_cast<double>(n)) * share / static_cast<double>(batch);
    }
  }
  EXPECT_NEAR(balance_loss(spec, logits, ids, valid, batch).item<double>(), expected, 1e-6);
}

TEST(Balance, LossMovesTokensAwayFromCrowdedExperts) {
  const GateSpec spec{.n_experts = 4, .top_k = 1};
  const Tensor logits = (normal({64, 4}, 6) + at::arange(4).neg()).requires_grad_(true);  // the first one is crowded
  balance_loss(spec, logits, apply_gate(spec, logits, {}, {}).ids, {}, 4).backward();
  const Tensor down = logits.grad().sum(0);
  EXPECT_GT(down[0].item<float>(), 0.0f);  // a step against the gradient lowers its logits
  EXPECT_LT(down[3].item<float>(), 0.0f);
}

TEST(Balance, ZLossIsTheMeanSquareOfTheNormalizer) {
  const Tensor logits = normal({10, 5}, 7);
  const Tensor valid = at::arange(10, at::kLong).lt(7);
  const Tensor normalizer = at::logsumexp(logits.to(at::kDouble), {1});
  EXPECT_NEAR(z_loss(logits, {}).item<double>(), normalizer.square().mean().item<double>(), 1e-6);
  EXPECT_NEAR(z_loss(logits, valid).item<double>(), normalizer.narrow(0, 0, 7).square().mean().item<double>(), 1e-6);
}

TEST(Balance, CorrectionBiasRisesForExpertsWithTooLittleToDo) {
  const Tensor bias = at::zeros({4}), load = at::tensor({10, 20, 30, 20}, at::kLong);
  update_correction_bias(bias, load, 0.001);
  update_correction_bias(bias, load, 0.001);
  EXPECT_LE(distance(bias, at::tensor({0.002f, 0.0f, -0.002f, 0.0f})), 1e-9);
}

TEST(Balance, CorrectionBiasAloneBalancesALopsidedGate) {
  const GateSpec spec{.n_experts = 8, .top_k = 2, .score = GateScore::sigmoid};
  const Tensor logits = normal({512, 8}, 8) + at::linspace(1, -1, 8);
  const Tensor bias = at::zeros({8});
  const auto spread = [&] {
    const Tensor load = expert_load(apply_gate(spec, logits, bias, {}).ids, 8).to(at::kDouble);
    return (load.max() / load.mean()).item<double>();
  };
  const double before = spread();
  for (int step = 0; step < 400; ++step)
    update_correction_bias(bias, expert_load(apply_gate(spec, logits, bias, {}).ids, 8), 0.001);
  EXPECT_GT(before, 2.0);
  EXPECT_LT(spread(), 1.05);
}

}  // namespace
}  // namespace moebox::train::test

// The gate against the routers of Hugging Face transformers (tests/golden/deepseek/gates.json), and against hostile
// numbers.
#include "routing/gate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebox {
namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

nlohmann::json golden_gates() {
  std::ifstream in(std::filesystem::path(MOEBOX_TEST_DIR) / "golden/deepseek/gates.json");
  return nlohmann::json::parse(in);
}

GateSpec spec_of(const nlohmann::json& entry) {
  GateSpec spec;
  spec.n_experts = entry.at("n_experts").get<int>();
  spec.top_k = entry.at("top_k").get<int>();
  spec.score = entry.at("score") == "sigmoid" ? GateScore::sigmoid : GateScore::softmax;
  spec.group_score = spec.score == GateScore::sigmoid ? GroupScore::sum_of_best2 : GroupScore::best;
  spec.n_groups = entry.at("n_groups").get<int>();
  spec.top_groups = entry.at("top_groups").get<int>();
  spec.normalize = entry.at("normalize").get<bool>();
  spec.scale = entry.at("scale").get<float>();
  return spec;
}

std::vector<ChosenExpert> choose(const GateSpec& spec, const std::vector<float>& logits,
                                 const std::vector<float>& bias = {}, const RoutingBudget& budget = {},
                                 float* dropped = nullptr) {
  GateScratch scratch(spec);
  std::vector<ChosenExpert> chosen(static_cast<std::size_t>(spec.top_k));
  const GateChoice choice = choose_experts(spec, logits, bias, budget, scratch, chosen);
  chosen.resize(static_cast<std::size_t>(choice.n_experts));
  if (dropped != nullptr) *dropped = choice.dropped_share;
  return chosen;
}

std::vector<int> ids(const std::vector<ChosenExpert>& chosen) {
  std::vector<int> result;
  for (const ChosenExpert& c : chosen) result.push_back(c.expert);
  return result;
}

class GoldenGate : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGate, ChoosesAsTransformersDoes) {
  for (const auto& entry : golden_gates()) {
    if (entry.at("name") != GetParam()) continue;
    const GateSpec spec = spec_of(entry);
    validate(spec, "golden");
    const auto bias = entry.at("bias").is_null() ? std::vector<float>{} : entry.at("bias").get<std::vector<float>>();
    validate_bias(spec, bias, "golden");
    const auto& logits = entry.at("logits");
    ASSERT_FALSE(logits.empty());
    for (std::size_t t = 0; t < logits.size(); ++t) {
      const auto chosen = choose(spec, logits[t].get<std::vector<float>>(), bias);
      EXPECT_EQ(ids(chosen), entry.at("experts")[t].get<std::vector<int>>()) << "token " << t;
      const auto weights = entry.at("weights")[t].get<std::vector<float>>();
      ASSERT_EQ(chosen.size(), weights.size());
      // The reference rounds its exponential, its sum and each quotient: a few units in the last place.
      for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(chosen[i].weight, weights[i], 8e-7f * weights[i]);
    }
    return;
  }
  FAIL() << "no such case";
}

/// Experts of an earlier choice get its bits again, whoever's bias and budget chose them.
TEST_P(GoldenGate, WeighsAChoiceThatWasMadeBefore) {
  for (const auto& entry : golden_gates()) {
    if (entry.at("name") != GetParam()) continue;
    const GateSpec spec = spec_of(entry);
    const auto bias = entry.at("bias").is_null() ? std::vector<float>{} : entry.at("bias").get<std::vector<float>>();
    for (const auto& values : entry.at("logits")) {
      const auto logits = values.get<std::vector<float>>();
      for (const RoutingBudget& budget : {RoutingBudget{}, RoutingBudget{.top_p = 0.6f}}) {
        const auto chosen = choose(spec, logits, bias, budget);
        std::vector<ChosenExpert> again = chosen;
        for (ChosenExpert& one : again) one.weight = nan_value;
        GateScratch scratch(spec);
        weigh_experts(spec, logits, scratch, again);
        EXPECT_EQ(ids(again), ids(chosen));
        for (std::size_t i = 0; i < chosen.size(); ++i) EXPECT_EQ(again[i].weight, chosen[i].weight);
      }
    }
  }
}

std::vector<std::string> gate_case_names() {
  std::vector<std::string> all;
  for (const auto& entry : golden_gates()) all.push_back(entry.at("name").get<std::string>());
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, GoldenGate, testing::ValuesIn(gate_case_names()),
                         [](const auto& info) { return info.param; });

GateSpec plain(int n_experts, int top_k) {
  GateSpec spec;
  spec.n_experts = n_experts;
  spec.top_k = top_k;
  return spec;
}

TEST(Gate, TiesGoToTheLowerId) {
  EXPECT_EQ(ids(choose(plain(6, 3), {1, 2, 1, 2, 1, 1})), (std::vector{0, 1, 3}));
  EXPECT_EQ(ids(choose(plain(4, 2), {0, 0, 0, 0})), (std::vector{0, 1}));
  GateSpec grouped = plain(8, 2);
  grouped.n_groups = 4;
  for (const GroupScore score : {GroupScore::best, GroupScore::sum_of_best2}) {
    grouped.group_score = score;
    EXPECT_EQ(ids(choose(grouped, {1, 1, 2, 2, 2, 2, 1, 1})), (std::vector{2, 3}));
  }
}

TEST(Gate, TheBiasChoosesButIsNoPartOfAWeight) {
  GateSpec spec = plain(4, 2);
  spec.score = GateScore::sigmoid;
  const auto chosen = choose(spec, {0, 1, 2, 3}, {5, 0, 0, 0});
  EXPECT_EQ(ids(chosen), (std::vector{0, 3}));
  EXPECT_FLOAT_EQ(chosen[0].weight, 0.5f);
}

TEST(Gate, GroupsAreJudgedByTheirRule) {
  GateSpec spec = plain(4, 2);
  spec.n_groups = 2;
  spec.score = GateScore::sigmoid;
  spec.group_score = GroupScore::best;
  EXPECT_EQ(ids(choose(spec, {3, -9, 2, 2})), (std::vector{0, 1}));
  spec.group_score = GroupScore::sum_of_best2;
  EXPECT_EQ(ids(choose(spec, {3, -9, 2, 2})), (std::vector{2, 3}));
}

TEST(Gate, NanAndInfinityNeitherCrashNorChooseTwice) {
  std::mt19937 random(3);
  const std::vector<float> odd = {nan_value, INFINITY, -INFINITY, 0, 1, 1e38f, -1e38f};
  for (int turn = 0; turn < 2000; ++turn) {
    GateSpec spec = plain(12, 1 + static_cast<int>(random() % 6));
    spec.score = turn % 2 ? GateScore::sigmoid : GateScore::softmax;
    if (turn % 3 != 0)
      spec.n_groups = 4, spec.top_groups = 2, spec.group_score = turn % 5 ? GroupScore::best : GroupScore::sum_of_best2;
    spec.normalize = turn % 7 == 0;
    validate(spec, "test");
    std::vector<float> logits(12);
    for (float& logit : logits) logit = odd[random() % odd.size()];
    RoutingBudget budget;
    if (turn % 4 == 0) budget.top_p = 0.5f;
    const auto chosen = ids(choose(spec, logits, {}, budget));
    ASSERT_GE(chosen.size(), 1u);
    EXPECT_EQ(std::set<int>(chosen.begin(), chosen.end()).size(), chosen.size());
    for (const int expert : chosen) EXPECT_TRUE(expert >= 0 && expert < 12);
  }
}

TEST(Gate, ANanIsChosenLast) {
  EXPECT_EQ(ids(choose(
                [] {
                  GateSpec spec = plain(4, 2);
                  spec.score = GateScore::sigmoid;
                  return spec;
                }(),
                {nan_value, -5, nan_value, -7})),
            (std::vector{1, 3}));
}

// ---- budgets ----

std::vector<float> logits_for(const std::vector<float>& probabilities) {
  std::vector<float> logits;
  for (const float p : probabilities) logits.push_back(std::log(p));
  return logits;
}

TEST(GateBudget, WithoutOneTheModelIsItself) {
  float dropped = 1;
  const auto chosen = choose(plain(4, 4), logits_for({0.1f, 0.4f, 0.3f, 0.2f}), {}, {}, &dropped);
  EXPECT_EQ(chosen.size(), 4u);
  EXPECT_EQ(dropped, 0.0f);
}

TEST(GateBudget, TopPTakesTheBestUntilTheirShareIsReached) {
  RoutingBudget budget;
  budget.top_p = 0.65f;
  float dropped = 0;
  const auto chosen = choose(plain(4, 4), logits_for({0.1f, 0.4f, 0.3f, 0.2f}), {}, budget, &dropped);
  EXPECT_EQ(ids(chosen), (std::vector{1, 2}));
  EXPECT_NEAR(dropped, 0.3f, 1e-6f);
  EXPECT_NEAR(chosen[0].weight, 0.4f, 1e-6f);  // not normalised: the weights stay
}

TEST(GateBudget, TheShareIsOfTheModelsOwnChoice) {
  RoutingBudget budget;
  budget.top_p = 0.5f;
  float dropped = 0;
  // The best two are 0.4 and 0.3: 0.4 is 57% of their mass.
  EXPECT_EQ(ids(choose(plain(4, 2), logits_for({0.1f, 0.4f, 0.3f, 0.2f}), {}, budget, &dropped)), (std::vector{1}));
  EXPECT_NEAR(dropped, 3.0f / 7.0f, 1e-6f);
}

TEST(GateBudget, WhatIsKeptIsNormalisedWhereTheModelNormalises) {
  GateSpec spec = plain(4, 4);
  spec.normalize = true;
  spec.scale = 2.0f;
  RoutingBudget budget;
  budget.max_experts = 2;
  const auto chosen = choose(spec, logits_for({0.1f, 0.4f, 0.3f, 0.2f}), {}, budget);
  ASSERT_EQ(ids(chosen), (std::vector{1, 2}));
  EXPECT_NEAR(chosen[0].weight, 2.0f * 4.0f / 7.0f, 1e-6f);
  EXPECT_NEAR(chosen[1].weight, 2.0f * 3.0f / 7.0f, 1e-6f);
}

TEST(GateBudget, AThresholdIsRelativeToTheBest) {
  RoutingBudget budget;
  budget.threshold = 0.6f;
  EXPECT_EQ(ids(choose(plain(4, 4), logits_for({0.1f, 0.4f, 0.3f, 0.2f}), {}, budget)), (std::vector{1, 2}));
}

TEST(GateBudget, ASmallerKIsThePrefixOfTheModelsChoiceByWeight) {
  GateSpec spec = plain(4, 3);
  spec.score = GateScore::sigmoid;
  RoutingBudget budget;
  budget.max_experts = 1;
  // Expert 0 is chosen for its bias, but its weight is the smallest.
  EXPECT_EQ(ids(choose(spec, {-1, 1, 2, 0}, {9, 0, 0, 0}, budget)), (std::vector{2}));
}

// ---- configurations that do not hold together ----

void expect_spec_refused(const GateSpec& spec, const std::string& field) {
  try {
    validate(spec, "config.json");
    FAIL() << "accepted " << field;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
    EXPECT_NE(error.where().find(field), std::string::npos) << error.where();
  }
}

TEST(GateSpec, NumbersThatDoNotHoldTogetherAreRefusedByName) {
  GateSpec spec = plain(8, 9);
  expect_spec_refused(spec, "num_experts_per_tok");
  spec = plain(8, 0);
  expect_spec_refused(spec, "num_experts_per_tok");
  spec = plain(0, 1);
  expect_spec_refused(spec, "n_routed_experts");
  spec = plain(max_experts_of_a_layer + 1, 1);
  expect_spec_refused(spec, "n_routed_experts");
  spec = plain(8, 2);
  spec.n_groups = 3;
  expect_spec_refused(spec, "n_group");
  spec.n_groups = -1;
  expect_spec_refused(spec, "n_group");
  spec.n_groups = 4;
  spec.top_groups = 5;
  expect_spec_refused(spec, "topk_group");
  spec.top_groups = 1;
  spec.top_k = 3;
  expect_spec_refused(spec, "num_experts_per_tok");
  spec = plain(8, 2);
  spec.n_groups = 8;
  spec.top_groups = 4;
  spec.group_score = GroupScore::sum_of_best2;
  expect_spec_refused(spec, "n_group");
  spec = plain(8, 2);
  spec.scale = nan_value;
  expect_spec_refused(spec, "routed_scaling_factor");
}

TEST(GateSpec, ABiasMustBeFiniteAndOfTheRightLength) {
  const GateSpec spec = plain(4, 2);
  EXPECT_NO_THROW(validate_bias(spec, {}, "bias"));
  EXPECT_NO_THROW(validate_bias(spec, std::vector<float>{0, 1, 2, 3}, "bias"));
  EXPECT_THROW(validate_bias(spec, std::vector<float>{0, 1, 2}, "bias"), Error);
  EXPECT_THROW(validate_bias(spec, std::vector<float>{0, 1, nan_value, 3}, "bias"), Error);
  EXPECT_THROW(validate_bias(spec, std::vector<float>{0, 1, INFINITY, 3}, "bias"), Error);
}

}  // namespace
}  // namespace moebox

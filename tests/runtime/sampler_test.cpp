#include "runtime/sampler.h"

#include <cmath>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace moebox {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

TokenId sample_once(SamplingParams params, std::vector<float> logits, std::vector<TokenId> tokens = {0},
                    int choice = 0) {
  Sampler sampler(std::move(params), {}, choice, tokens, 1);
  SamplerScratch scratch(static_cast<int>(logits.size()));
  return sampler.sample(kernel_table(), logits, tokens, scratch).id;
}

SamplingParams params_from(const nlohmann::json& json) {
  SamplingParams params;
  params.temperature = json.value("temperature", 1.0f);
  params.top_k = json.value("top_k", 0);
  params.top_p = json.value("top_p", 1.0f);
  params.min_p = json.value("min_p", 0.0f);
  params.typical_p = json.value("typical_p", 1.0f);
  params.repetition_penalty = json.value("repetition_penalty", 1.0f);
  return params;
}

// 20,000 draws against the probabilities that transformers' warpers leave: none of a removed token, and frequencies
// within five standard deviations.
TEST(Sampler, DrawsFromTheDistributionThatTransformersLeaves) {
  std::ifstream file(MOEBOX_TEST_DIR "/golden/runtime/sampling.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 20u);
  constexpr int draws = 20000;
  for (const auto& c : golden["cases"]) {
    SamplingParams params = params_from(c["params"]);
    const auto logits = c["logits"].get<std::vector<float>>();
    const auto prompt = c["prompt"].get<std::vector<TokenId>>();
    const auto expected = c["probabilities"].get<std::vector<double>>();
    std::vector<int> counts(logits.size(), 0);
    for (int i = 0; i < draws; ++i) {
      params.seed = static_cast<std::uint64_t>(i);
      ++counts[static_cast<std::size_t>(sample_once(params, logits, prompt))];
    }
    for (std::size_t id = 0; id < logits.size(); ++id) {
      const double p = expected[id];
      const double slack =
          p == 0 ? 0 : 5 * std::sqrt(p * (1 - p) / draws) + 4.0 / draws;  // the last term: rare tokens are not normal
      ASSERT_NEAR(counts[id] / static_cast<double>(draws), p, slack) << c["params"].dump() << " token " << id;
    }
  }
}

TEST(Sampler, TemperatureZeroTakesTheLargestAndTheLowerIdOnATie) {
  SamplingParams greedy;
  greedy.temperature = 0;
  EXPECT_EQ(sample_once(greedy, {1, 5, 3, 5}), 1);
  EXPECT_EQ(sample_once(greedy, {NAN, -3, NAN, -2}), 3);
}

// 1 / temperature overflows there: every positive logit would become infinity, and a zero NaN.
TEST(Sampler, ATemperatureNextToZeroIsGreedy) {
  for (const float temperature : {1e-45f, 1e-39f, 1e-38f, 1e-7f}) {
    SamplingParams cold;
    cold.temperature = temperature;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      cold.seed = seed;
      ASSERT_EQ(sample_once(cold, {0, 1, 5, 3, -2}), 2) << temperature;
      ASSERT_EQ(sample_once(cold, {0, -1, -5}), 0) << temperature;
    }
  }
}

// exp(-744.5) is the smallest double above 0; its share of the total is 0, which once made the entropy a NaN and the
// order that of the ids.
TEST(Sampler, TypicalSamplingBearsWeightsNextToZero) {
  SamplingParams params;
  params.typical_p = 0.4f;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    ASSERT_GT(sample_once(params, {-744.5f, -1, 0, 0, 0}), 1);
  }
}

TEST(Sampler, TheSameSeedPositionAndChoiceGiveTheSameToken) {
  SamplingParams params;
  params.seed = 99;
  const std::vector<float> flat(1000, 0.0f);
  EXPECT_EQ(sample_once(params, flat, {1, 2, 3}),
            sample_once(params, flat, {7, 8, 9}));  // the position counts, not the tokens
  int same_choice = 0, same_position = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    same_choice += sample_once(params, flat, {1}, 0) == sample_once(params, flat, {1}, 1);
    same_position += sample_once(params, flat, {1}) == sample_once(params, flat, {1, 1});
  }
  EXPECT_LE(same_choice, 2);
  EXPECT_LE(same_position, 2);
}

TEST(Sampler, BiasForbidsAndForces) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{1, -100.0f}, {2, 1.5f}};
  EXPECT_EQ(sample_once(params, {1, 9, 0, 1}), 2);
}

TEST(Sampler, PenaltiesCountTheAnswerAlone) {
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = 2.0f;
  Sampler sampler(params, {}, 0, std::vector<TokenId>{0, 0}, 3);
  SamplerScratch scratch(3);
  std::vector<TokenId> tokens{0, 0};
  const auto next = [&] {
    std::vector<float> logits{3.0f, 2.5f, 0.0f};
    tokens.push_back(sampler.sample(kernel_table(), logits, tokens, scratch).id);
    return tokens.back();
  };
  EXPECT_EQ(next(), 0);  // the prompt's occurrences do not count
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), 0);  // 3 - 2 against 2.5 - 2: presence counts once
}

TEST(Sampler, LogprobsAreThoseOfTheModelBeforeAnyChange) {
  SamplingParams params;
  params.temperature = 0;
  params.n_logprobs = 2;
  params.logit_bias = {{3, 50.0f}};
  Sampler sampler(params, {}, 0, std::vector<TokenId>{0}, 1);
  SamplerScratch scratch(4);
  std::vector<float> logits{std::log(0.5f), std::log(0.25f), std::log(0.2f), std::log(0.05f)};
  const GeneratedToken token = sampler.sample(kernel_table(), logits, std::vector<TokenId>{0}, scratch);
  EXPECT_EQ(token.id, 3);
  EXPECT_NEAR(token.logprob, std::log(0.05f), 1e-5);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].id, 0);
  EXPECT_NEAR(token.top[1].logprob, std::log(0.25f), 1e-5);
}

TEST(Sampler, NothingLeftIsAnError) {
  EXPECT_THROW(sample_once({}, {minus_infinity, minus_infinity}), Error);
  EXPECT_THROW(sample_once({}, {NAN, NAN}), Error);
}

class Ban final : public LogitProcessor {
 public:
  explicit Ban(TokenId id) : id_(id) {}
  void apply(std::span<float> logits, std::span<const TokenId>) override {
    logits[static_cast<std::size_t>(id_)] = minus_infinity;
  }
  void accept(TokenId id) override { accepted.push_back(id); }
  std::vector<TokenId> accepted;

 private:
  TokenId id_;
};

TEST(Sampler, ProcessorsChangeTheChoiceAndHearOfIt) {
  const auto ban = std::make_shared<Ban>(1);
  SamplingParams params;
  params.temperature = 0;
  Sampler sampler(params, {ban}, 0, std::vector<TokenId>{0}, 1);
  SamplerScratch scratch(3);
  std::vector<float> logits{1, 9, 5};
  EXPECT_EQ(sampler.sample(kernel_table(), logits, std::vector<TokenId>{0}, scratch).id, 2);
  EXPECT_EQ(ban->accepted, std::vector<TokenId>{2});
}

TEST(Sampler, FieldsOutOfRangeAreNamed) {
  const auto field_of = [](SamplingParams params) -> std::string {
    try {
      params.validate(10);
    } catch (const Error& error) {
      return error.where();
    }
    return "";
  };
  SamplingParams params;
  EXPECT_EQ(field_of(params), "");
  params.temperature = -1;
  EXPECT_EQ(field_of(params), "temperature");
  params = {};
  params.temperature = NAN;
  EXPECT_EQ(field_of(params), "temperature");
  params = {};
  params.top_p = 0;
  EXPECT_EQ(field_of(params), "top_p");
  params = {};
  params.logit_bias = {{10, 1.0f}};
  EXPECT_EQ(field_of(params), "logit_bias");
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bias : {infinity, -infinity, NAN, 3e38f, -1001.0f}) {
    params.logit_bias = {{1, 1.0f}, {2, bias}};
    EXPECT_EQ(field_of(params), "logit_bias") << bias;
  }
  params.logit_bias = {{1, -1000.0f}, {2, 1000.0f}};
  EXPECT_EQ(field_of(params), "");
  params = {};
  params.repetition_penalty = 0;
  EXPECT_EQ(field_of(params), "repetition_penalty");
}

}  // namespace
}  // namespace moebox

// Ranks that compute each layer together: in every mix with experts and sequences shared out, one rank's steps.
#include "train/tensor_ranks.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/cross_entropy.h"
#include "train/thread_ranks.h"
#include "train/train_testing.h"
#include "train/trainer.h"

namespace moebox::train::test {
namespace {

constexpr std::int64_t n_steps = 4;

struct Mix {
  int ranks;
  RankMix of;
};
std::ostream& operator<<(std::ostream& out, const Mix& mix) {
  return out << mix.ranks << " ranks, tensor " << mix.of.tensor << ", expert " << mix.of.expert;
}

struct Case {
  std::string model;
  bool muon = false, recompute = false;
};
std::ostream& operator<<(std::ostream& out, const Case& the_case) { return out << the_case.model; }

ModelOptions model_options(const Case& of) { return {.further_tokens = of.model.ends_with("_mtp")}; }

Checkpoint model_files(const Case& of) { return Checkpoint::open(golden_dir() / "train/models" / of.model); }

TrainerOptions trainer_options(const Case& of, bool has_bias) {
  TrainerOptions options;
  options.schedule = {.steps = n_steps, .warmup_steps = 1, .learning_rate = 3e-3};
  options.adamw.epsilon = 1e-5;  // else a gradient of nearly nothing, which is rounding, is a whole step
  options.loss = {.further_weight = 0.3, .balance_weight = 0.01, .z_weight = 0.001};
  options.forward.recompute = of.recompute;
  options.accumulate = 2;
  options.clip = 0.5;
  if (has_bias) options.bias_rate = 0.01;
  if (of.muon) options.muon.emplace();
  return options;
}

/// Sequences that count on; of some of them nothing is learnt, of others a few tokens.
Batch batch_of(std::int64_t step) {
  Batch batch;
  const Tensor places = at::arange(8, at::kLong).unsqueeze(1) * 17 + at::arange(12, at::kLong).unsqueeze(0);
  batch.tokens = (places + step * 5).remainder(96);
  batch.targets = shifted(batch.tokens);
  batch.targets.narrow(0, 0, 1).fill_(no_target);
  batch.targets.narrow(0, 5, 1).narrow(1, 1, 10).fill_(no_target);
  batch.documents = at::zeros({8, 12}, at::kInt);
  batch.documents.narrow(0, 3, 1).narrow(1, 6, 6).fill_(1);
  batch.documents.narrow(0, 6, 1).narrow(1, 8, 4).fill_(-1);  // padding
  batch.targets.narrow(0, 6, 1).narrow(1, 7, 5).fill_(no_target);
  return batch;
}

bool has_bias(const Model& model) {
  return std::ranges::any_of(model.weights().all(),
                             [](const Weight& weight) { return weight.kind == WeightKind::statistic; });
}

struct Trained {
  std::vector<StepReport> reports;
  std::vector<NamedTensor> weights;
};

Trained train(const Case& of, const Mix& mix) {
  Trained trained;
  std::mutex mutex;
  run_ranks(mix.ranks, [&](const std::shared_ptr<World>& world) {
    const auto ranks = arrange_ranks(world, mix.of);
    ModelOptions options = model_options(of);
    options.experts = ranks.experts;
    options.tensor = ranks.tensor;
    const auto model = make_model(model_files(of), options);
    Trainer trainer(*model, trainer_options(of, has_bias(*model)), ranks);
    std::vector<StepReport> reports;
    while (!trainer.done()) reports.push_back(trainer.step(batch_of(trainer.n_done())));
    const std::lock_guard lock(mutex);
    for (const Weight& weight : model->weights().all())
      add_parts(trained.weights, "weight", weight, weight.values.clone());
    if (trained.reports.empty()) trained.reports = reports;
    for (std::size_t i = 0; i < reports.size(); ++i)
      EXPECT_EQ(reports[i].loss, trained.reports[i].loss) << "all ranks say the same";
  });
  return trained;
}

void expect_near(double found, double expected, const char* what) {
  EXPECT_NEAR(found, expected, 1e-6 * std::max(1.0, std::abs(expected))) << what;
}

class TensorRanks : public ::testing::TestWithParam<Case> {};

TEST_P(TensorRanks, HaveTheStepsOfOneInEveryMix) {
  const Trained one = train(GetParam(), {1, {}});
  const bool is_split = std::ranges::any_of(
      one.weights, [](const NamedTensor& weight) { return weight.name.find(".experts.") != std::string::npos; });
  const bool has_four_kv_heads = GetParam().model.starts_with("deepseek");
  for (const Mix& mix : {Mix{2, {.tensor = 2}}, Mix{4, {.tensor = 2}}, Mix{4, {.tensor = 4}},
                         Mix{4, {.tensor = 2, .expert = 2}}, Mix{4, {.tensor = 1, .expert = 2}}, Mix{4, {}}}) {
    if ((mix.of.expert > 1 && !is_split) || (mix.of.tensor > 2 && !has_four_kv_heads)) continue;
    SCOPED_TRACE(::testing::PrintToString(mix));
    const Trained several = train(GetParam(), mix);
    ASSERT_EQ(several.reports.size(), one.reports.size());
    for (std::size_t i = 0; i < one.reports.size(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i + 1));
      const StepReport &found = several.reports[i], &expected = one.reports[i];
      expect_near(found.loss, expected.loss, "loss");
      expect_near(found.cross_entropy, expected.cross_entropy, "cross-entropy");
      expect_near(found.balance, expected.balance, "balance");
      expect_near(found.z, expected.z, "z");
      EXPECT_NEAR(found.gradient_norm, expected.gradient_norm, 1e-5 * expected.gradient_norm);
      ASSERT_EQ(found.further.size(), expected.further.size());
      for (std::size_t j = 0; j < found.further.size(); ++j)
        expect_near(found.further[j], expected.further[j], "further");
      ASSERT_EQ(found.loads.size(), expected.loads.size());
      for (std::size_t j = 0; j < found.loads.size(); ++j) EXPECT_EQ(found.loads[j].tokens, expected.loads[j].tokens);
      EXPECT_FALSE(found.skipped);
    }
    std::map<std::string, Tensor> by_name;
    for (const NamedTensor& weight : one.weights) by_name[weight.name] = weight.values;
    for (const NamedTensor& weight : several.weights)
      EXPECT_LT((weight.values - by_name.at(weight.name)).abs().max().item<double>(), 1e-4) << weight.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TensorRanks,
                         ::testing::Values(Case{"deepseek_v2"}, Case{"deepseek_v2_attention"},
                                           Case{"deepseek_v3", true}, Case{"deepseek_v3", false, true},
                                           Case{"deepseek_v3_mtp"}, Case{"llama"}, Case{"qwen2", true},
                                           Case{"qwen2moe"}, Case{"qwen3"}, Case{"qwen3moe", true, true}));

TEST(TensorShares, AreOfEveryBlockAndOfWholeHeads) {
  run_ranks(2, [](const std::shared_ptr<World>& world) {
    const Tensor rows = at::arange(8, at::kFloat).reshape({8, 1});
    const float first = world->is_first() ? 0.0f : 2.0f;
    const Tensor shares = share_of(rows, 0, world.get(), 2);  // gate 0 to 3, up 4 to 7
    EXPECT_EQ(shares[0].item<float>(), first);
    EXPECT_EQ(shares[2].item<float>(), 4 + first);
    EXPECT_EQ(shares.size(0), 4);
    const Tensor sum = add_up_shares(at::full({3}, world->rank() + 1.0), world.get());
    EXPECT_TRUE(at::equal(sum, at::full({3}, 3.0)));
  });
}

TEST(TensorShares, RefuseWhatCannotBeSharedOut) {
  const auto refused = [](const Case& of, int n_ranks) {
    std::string said;
    try {
      run_ranks(n_ranks, [&](const std::shared_ptr<World>& world) {
        make_model(model_files(of), {.tensor = arrange_ranks(world, {.tensor = n_ranks}).tensor});
      });
    } catch (const Error& problem) {
      said = problem.what();
    }
    return said;
  };
  EXPECT_NE(refused({"llama"}, 4)
                .find("parallel.tensor: expected a number that divides the model's 2 heads of keys "
                      "and values, found 4"),
            std::string::npos)
      << refused({"llama"}, 4);
  EXPECT_NE(refused({"deepseek_v3"}, 3).find("4 attention heads, found 3"), std::string::npos);
  const auto mix = [](const RankMix& of) {
    run_ranks(4, [&](const std::shared_ptr<World>& world) { arrange_ranks(world, of); });
  };
  EXPECT_THROW(mix({.tensor = 3}), Error);
  EXPECT_THROW(mix({.tensor = 4, .expert = 2}), Error);
  EXPECT_NO_THROW(mix({.tensor = 2, .expert = 2}));
}

}  // namespace
}  // namespace moebox::train::test

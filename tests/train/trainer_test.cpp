// Steps: what is learnt, what is the same however a batch is cut, what is skipped; and the learning rate.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/initial_weights.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

std::unique_ptr<Model> golden_model(const std::string& name) {
  return make_model(Checkpoint::open(golden_dir() / "train/models" / name), {.further_tokens = name.ends_with("_mtp")});
}

/// Sequences that count on, each from another place.
Batch counting(std::int64_t sequences, std::int64_t length, std::int64_t from) {
  Batch batch;
  batch.tokens =
      (at::arange(sequences, at::kLong).unsqueeze(1) * 17 + at::arange(length, at::kLong).unsqueeze(0) + from)
          .remainder(96);
  batch.targets = shifted(batch.tokens);
  return batch;
}

TrainerOptions options_for(std::int64_t steps) {
  TrainerOptions options;
  options.schedule = {.steps = steps, .warmup_steps = 2, .learning_rate = 5e-3};
  return options;
}

std::vector<Tensor> copies(const Model& model) {
  std::vector<Tensor> all;
  for (const Weight& weight : model.weights().all()) all.push_back(weight.values.detach().clone());
  return all;
}

TEST(Trainer, LearnsToCountFromRandomWeights) {
  const auto model = make_model(Checkpoint::describe(golden_dir() / "train/models/deepseek_v3_mtp/config.json"),
                                {.further_tokens = true});
  draw_weights(model->weights(), 3, 0.02);
  TrainerOptions options = options_for(60);
  options.loss.further_weight = 0.3;
  options.loss.balance_weight = 1e-3;
  options.loss.z_weight = 1e-4;
  options.bias_rate = 1e-3;
  Trainer trainer(*model, options);
  StepReport first, last;
  while (!trainer.done()) {
    last = trainer.step(counting(8, 24, trainer.n_done() * 5));
    if (trainer.n_done() == 1) first = last;
  }
  EXPECT_NEAR(first.cross_entropy, std::log(96), 0.1);  // nothing is known of any token
  EXPECT_LT(last.cross_entropy, 0.5 * first.cross_entropy);
  EXPECT_LT(last.further.at(0), 0.7 * first.further.at(0));
  EXPECT_EQ(last.n_targets, 8 * 23);
  EXPECT_EQ(last.n_tokens, 8 * 24);
  ASSERT_EQ(last.loads.size(), 2U);  // one layer with experts, and the one behind
  for (const LayerLoad& load : last.loads) {
    std::int64_t sum = 0;
    for (const std::int64_t n : load.tokens) sum += n;
    EXPECT_EQ(sum, 8 * 24 * 3);  // every token once for each of its experts
  }
  bool moved = false;
  for (const Weight& weight : model->weights().all())
    if (weight.kind == WeightKind::statistic) moved = moved || length_of(weight.values) > 0;
  EXPECT_TRUE(moved);
}

TEST(Trainer, ABatchInPartsGivesTheSameStep) {
  const auto whole = golden_model("deepseek_v3"), parts = golden_model("deepseek_v3");
  TrainerOptions options = options_for(4);
  Trainer one(*whole, options);
  options.accumulate = 4;
  Trainer four(*parts, options);
  Batch batch = counting(8, 16, 0);
  batch.targets.narrow(0, 0, 2).fill_(no_target);  // the first part has no target at all
  batch.targets.narrow(0, 2, 1).fill_(no_target);  // the second one fewer
  const StepReport a = one.step(batch), b = four.step(batch);
  EXPECT_NEAR(a.loss, b.loss, 1e-5);
  EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-4 * a.gradient_norm);
  EXPECT_EQ(a.n_targets, b.n_targets);
}

TEST(Trainer, StepsHaveTheSameBitsOnAnyNumberOfThreads) {
  const auto weights_after = [](int n_threads, at::ScalarType type, bool muon) {
    const Threads threads(n_threads);
    const auto model = golden_model("deepseek_v3");
    TrainerOptions options = options_for(3);
    options.forward.type = type;
    options.clip = 0.1;
    if (muon) options.muon.emplace();
    Trainer trainer(*model, options);
    while (!trainer.done()) trainer.step(counting(4, 40, trainer.n_done()));
    return copies(*model);
  };
  for (const auto& [type, muon] : {std::pair{at::kFloat, false}, {at::kBFloat16, false}, {at::kFloat, true}}) {
    const std::vector<Tensor> one = weights_after(1, type, muon);
    for (const int n_threads : {2, 3}) {
      const std::vector<Tensor> found = weights_after(n_threads, type, muon);
      for (std::size_t i = 0; i < one.size(); ++i)
        EXPECT_TRUE(same_bits(one[i], found[i])) << at::toString(type) << ", " << n_threads << " threads, weight " << i;
    }
  }
}

TEST(Trainer, SkipsAStepWhoseGradientIsNotFinite) {
  const auto model = golden_model("deepseek_v3");
  TrainerOptions options = options_for(20);
  options.bias_rate = 1e-3;
  options.max_skipped = 2;
  Trainer trainer(*model, options);
  EXPECT_FALSE(trainer.step(counting(4, 16, 0)).skipped);
  const auto [weight, part] = model->weights().find("model.layers.1.mlp.shared_experts.down_proj.weight");
  Tensor poisoned = weight->values.detach()[0];
  const Tensor healthy = poisoned.clone();
  poisoned.fill_(std::numeric_limits<float>::quiet_NaN());
  const std::vector<Tensor> before = copies(*model);
  EXPECT_TRUE(trainer.step(counting(4, 16, 1)).skipped);
  EXPECT_TRUE(trainer.step(counting(4, 16, 2)).skipped);
  const std::vector<Tensor> after = copies(*model);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i]));
  EXPECT_EQ(trainer.n_skipped(), 2);
  EXPECT_FALSE(trainer.is_stuck());
  EXPECT_TRUE(trainer.step(counting(4, 16, 3)).skipped);
  EXPECT_TRUE(trainer.is_stuck()) << "the third one in a row";
  poisoned.copy_(healthy);
  EXPECT_FALSE(trainer.step(counting(4, 16, 4)).skipped);
  EXPECT_FALSE(trainer.is_stuck());
  EXPECT_EQ(trainer.n_skipped(), 3);
}

TEST(Trainer, ClipsTheGradientsLength) {
  const auto clipped = golden_model("llama"), free = golden_model("llama");
  TrainerOptions options = options_for(4);
  options.adamw.epsilon = 1e3;  // the step is then as long as the gradient
  options.adamw.weight_decay = 0;
  options.clip = 1e-2;
  Trainer a(*clipped, options);
  options.clip = 0;
  Trainer b(*free, options);
  const std::vector<Tensor> before = copies(*clipped);
  const StepReport report = a.step(counting(4, 16, 0));
  b.step(counting(4, 16, 0));
  ASSERT_GT(report.gradient_norm, 0.1);
  const std::vector<Tensor> short_way = copies(*clipped), long_way = copies(*free);
  double small = 0, large = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    small += std::pow(distance(short_way[i], before[i]), 2);
    large += std::pow(distance(long_way[i], before[i]), 2);
  }
  // Changes of 1e-8 in weights of about 0.1 are a few units of float32: hence the width.
  EXPECT_LT(std::sqrt(small / large), 0.5);
}

TEST(Trainer, RefusesWhatTheModelDoesNotHave) {
  const auto model = golden_model("deepseek_v2");
  TrainerOptions options = options_for(4);
  options.bias_rate = 1e-3;
  EXPECT_THROW(Trainer(*model, options), Error);
  options.bias_rate = 0;
  options.accumulate = 3;
  Trainer trainer(*model, options);
  EXPECT_THROW(trainer.step(counting(4, 8, 0)), Error);
  Batch masked = counting(3, 8, 0);
  masked.targets.fill_(no_target);
  EXPECT_THROW(trainer.step(masked), Error);
}

TEST(Trainer, HoldsABudget) {
  const auto model = golden_model("deepseek_v3");
  TrainerOptions options = options_for(4);
  options.forward.budget.max_experts = 2;
  Trainer trainer(*model, options);
  std::int64_t sum = 0;
  for (const LayerLoad& load : trainer.step(counting(4, 16, 0)).loads)
    for (const std::int64_t n : load.tokens) sum += n;
  EXPECT_EQ(sum, 2 * 4 * 16 * 2);  // two layers, two experts a token
}

TEST(Schedule, CosineRisesThenFallsToItsFraction) {
  const Schedule schedule{.kind = ScheduleKind::cosine, .steps = 110, .warmup_steps = 10, .learning_rate = 2.0};
  EXPECT_DOUBLE_EQ(schedule.rate(0), 0.2);
  EXPECT_DOUBLE_EQ(schedule.rate(9), 2.0);
  EXPECT_NEAR(schedule.rate(59), 2.0 * 0.55, 1e-12);  // half-way
  EXPECT_NEAR(schedule.rate(109), 0.2, 1e-12);
  for (std::int64_t i = 11; i < 110; ++i) EXPECT_LT(schedule.rate(i), schedule.rate(i - 1));
}

TEST(Schedule, WsdIsFlatUntilItDecays) {
  const Schedule schedule{.kind = ScheduleKind::wsd,
                          .steps = 100,
                          .warmup_steps = 10,
                          .decay_steps = 20,
                          .learning_rate = 1.0,
                          .final_fraction = 0.0};
  EXPECT_DOUBLE_EQ(schedule.rate(4), 0.5);
  for (std::int64_t i = 9; i < 80; ++i) EXPECT_DOUBLE_EQ(schedule.rate(i), 1.0);
  EXPECT_DOUBLE_EQ(schedule.rate(89), 0.5);
  EXPECT_DOUBLE_EQ(schedule.rate(99), 0.0);
}

}  // namespace
}  // namespace moebox::train::test

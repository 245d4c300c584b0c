// Muon against torch's own, and what it leaves to AdamW.
#include "train/muon.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "train/initial_weights.h"
#include "train/train_testing.h"
#include "train/trainer.h"

namespace moebox::train::test {
namespace {

Weight weight_of(const std::string& name, const Tensor& start) {
  Weight weight{WeightKind::matrix, start.clone().requires_grad_(true), {}};
  if (name == "stack")
    for (int expert = 0; expert < 3; ++expert)
      for (const std::int64_t first : {0, 5})
        weight.parts.push_back({fmt::format("{}.{}", expert, first), "expert_gate", 0, expert, expert, first, {5, 8}});
  else
    weight.parts.push_back({name, "q", 0, -1, -1, 0, start.sizes().vec()});
  return weight;
}

// Every matrix by itself: an expert's, and gate and up of one stack. torch computed in float64.
TEST(Muon, MovesMatricesAsTorchDoes) {
  const auto golden = read_tensors(golden_dir() / "train/muon.safetensors");
  for (const std::string name : {"stack", "tall", "wide"}) {
    SCOPED_TRACE(name);
    const Tensor &start = golden.at(name + ".weight"), &gradients = golden.at(name + ".gradients");
    Weight weight = weight_of(name, start);
    Muon muon({weight}, {.momentum = 0.9, .weight_decay = 0.1});
    for (std::int64_t step = 0; step < gradients.size(0); ++step) {
      weight.values.mutable_grad() = gradients[step] * 4;
      muon.step(0.02, 0.25);
      const Tensor& expected = golden.at(fmt::format("{}.{}", name, step));
      // bfloat16 errs by about a hundredth.
      EXPECT_LE(distance(weight.values.detach(), expected), 1e-4 * distance(expected, start)) << "step " << step;
    }
    muon.clear_gradients();
    EXPECT_FALSE(weight.values.grad().defined());
  }
}

TEST(Muon, SingularValuesComeNearOne) {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{40, 64}, {64, 40}, {1, 7}}) {
    const Tensor matrix = normal({rows, columns}, 5), exact = nearly_orthogonal(matrix, 5);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const Tensor found = nearly_orthogonal(matrix, 5, type);
      const Tensor values = at::linalg_svdvals(found);
      EXPECT_GT(values.min().item<double>(), 0.6);
      EXPECT_LT(values.max().item<double>(), 1.3);
      EXPECT_LE(distance(found, exact), 0.05 * length_of(exact));
    }
  }
  EXPECT_EQ(length_of(nearly_orthogonal(at::zeros({3, 4}), 5)), 0);
}

std::unique_ptr<Model> random_model() {
  auto model = make_model(Checkpoint::describe(golden_dir() / "train/models/deepseek_v3/config.json"), {});
  draw_weights(model->weights(), 3, 0.02);
  return model;
}

TrainerOptions with_muon(std::int64_t steps) {
  TrainerOptions options;
  options.schedule = {.steps = steps, .warmup_steps = 2, .learning_rate = 5e-3};
  options.muon.emplace();
  return options;
}

Batch counting_up(std::int64_t from) {
  Batch batch;
  batch.tokens =
      (at::arange(8, at::kLong).unsqueeze(1) * 17 + at::arange(24, at::kLong).unsqueeze(0) + from).remainder(96);
  batch.targets = shifted(batch.tokens);
  return batch;
}

TEST(Muon, LearnsToCount) {
  const auto model = random_model();
  Trainer trainer(*model, with_muon(60));
  const double first = trainer.step(counting_up(0)).cross_entropy;
  double last = first;
  while (!trainer.done()) last = trainer.step(counting_up(trainer.n_done() * 5)).cross_entropy;
  EXPECT_LT(last, 0.5 * first);
  int n_momenta = 0, n_means = 0;
  for (const NamedTensor& tensor : trainer.state()) {
    n_momenta += tensor.name.starts_with("momentum/");
    n_means += tensor.name.starts_with("mean/");
    if (!tensor.name.starts_with("momentum/")) continue;
    EXPECT_EQ(tensor.name.find("embed_tokens"), std::string::npos) << tensor.name;
    EXPECT_EQ(tensor.name.find("lm_head"), std::string::npos) << tensor.name;
  }
  EXPECT_GT(n_momenta, 10);
  EXPECT_GT(n_means, 5);
}

// What a checkpoint takes is all that the next step depends on.
TEST(Muon, GoesOnFromItsState) {
  const auto model = random_model(), other = random_model();
  Trainer trainer(*model, with_muon(6)), resumed(*other, with_muon(6));
  for (int i = 0; i < 3; ++i) trainer.step(counting_up(i));
  const std::vector<NamedTensor> from = trainer.state(), to = resumed.state();
  ASSERT_EQ(from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(from[i].name, to[i].name);
    to[i].values.copy_(from[i].values);
  }
  resumed.set_counters(trainer.counters());
  for (int i = 3; i < 6; ++i) {
    trainer.step(counting_up(i));
    resumed.step(counting_up(i));
  }
  EXPECT_EQ(model->weights().digest(), other->weights().digest());
}

}  // namespace
}  // namespace moebox::train::test

// Gradients of every weight, and the losses of ten steps, against transformers' autograd (tests/golden/train); logits
// against transformers (tests/golden/deepseek, moe and transformers).
#include <map>
#include <set>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "io/npy.h"
#include "train/adamw.h"
#include "train/loss.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

const nlohmann::json& golden_cases() {
  static const nlohmann::json all = read_json(golden_dir() / "train/cases.json");
  return all;
}

std::vector<std::string> names_of(const nlohmann::json& cases) {
  std::vector<std::string> names;
  for (const auto& entry : cases) names.push_back(entry.at("name"));
  return names;
}

class GoldenTraining : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const auto& entry : golden_cases().at("cases"))
      if (entry.at("name") == GetParam()) case_ = entry;
    const Checkpoint checkpoint = Checkpoint::open(golden_dir() / "train/models" / GetParam());
    model_ = make_model(checkpoint, {.further_tokens = GetParam().ends_with("_mtp")});
    batch_.tokens = integers(case_.at("tokens"));
    batch_.targets = shifted(integers(case_.at("labels")));
    options_.further_weight = golden_cases().at("mtp_weight");
    options_.chunk_tokens = 7;  // the loss is of several chunks, the last one a part of one
  }

  Loss loss() const { return compute_loss(*model_, batch_, model_->forward(batch_, {}), options_); }

  nlohmann::json case_;
  std::unique_ptr<Model> model_;
  Batch batch_;
  LossOptions options_;
};

TEST_P(GoldenTraining, GradientsOfEveryWeight) {
  loss().total.backward();
  const auto expected = read_tensors(golden_dir() / "train" / (GetParam() + ".gradients.safetensors"));
  std::set<std::string> compared;
  double worst = 0;
  for (const Weight& weight : model_->weights().all()) {
    if (weight.kind == WeightKind::statistic) {
      EXPECT_FALSE(weight.values.grad().defined());
      continue;
    }
    ASSERT_TRUE(weight.values.grad().defined()) << weight.parts.front().name;
    for (const WeightPart& part : weight.parts) {
      ASSERT_TRUE(expected.contains(part.name)) << part.name;
      const Tensor& wanted = expected.at(part.name);
      const Tensor found = part_of(weight.values.grad(), part);
      const double tolerance = case_.at("gradient_tolerances").at(part.name);
      EXPECT_LE(distance(found, wanted), tolerance) << part.name << ", whose length is " << length_of(wanted);
      worst = std::max(worst, distance(found, wanted) / (length_of(wanted) + 1e-30));
      compared.insert(part.name);
    }
  }
  EXPECT_EQ(compared.size(), expected.size());
  RecordProperty("largest_relative_distance", fmt::format("{:.2g}", worst));
}

TEST_P(GoldenTraining, CheckpointingGivesTheSameBits) {
  options_.balance_weight = 0.1;  // the gates' logits have gradients of several kinds
  options_.z_weight = 0.01;
  std::map<std::string, Tensor> kept;
  loss().total.backward();
  for (const Weight& weight : model_->weights().all()) {
    if (!weight.values.grad().defined()) continue;
    kept[weight.parts.front().name] = weight.values.grad().clone();
    weight.values.mutable_grad().reset();
  }
  const ForwardResult result = model_->forward(batch_, {.recompute = true});
  compute_loss(*model_, batch_, result, options_).total.backward();
  for (const Weight& weight : model_->weights().all()) {
    const std::string& name = weight.parts.front().name;
    ASSERT_EQ(weight.values.grad().defined(), kept.contains(name)) << name;
    if (!kept.contains(name)) continue;
    EXPECT_TRUE(same_bits(weight.values.grad(), kept.at(name))) << name;
  }
}

TEST_P(GoldenTraining, LossesOfTenSteps) {
  const auto& settings = golden_cases().at("adamw");
  AdamW optimizer(model_->weights().all(), {.beta1 = settings.at("betas")[0],
                                            .beta2 = settings.at("betas")[1],
                                            .epsilon = settings.at("eps"),
                                            .weight_decay = settings.at("weight_decay")});
  const auto expected = case_.at("losses").get<std::vector<double>>();
  const auto tolerances = case_.at("loss_tolerances").get<std::vector<double>>();
  for (std::size_t step = 0; step < expected.size(); ++step) {
    const Tensor total = loss().total;
    EXPECT_NEAR(total.item<double>(), expected[step], tolerances[step]) << "step " << step;
    total.backward();
    optimizer.step(settings.at("lr"));
    optimizer.clear_gradients();
  }
}

INSTANTIATE_TEST_SUITE_P(Train, GoldenTraining, ::testing::ValuesIn(names_of(golden_cases().at("cases"))),
                         [](const auto& info) { return info.param; });

// ---- logits ----

struct LogitsCase {
  std::string folder, name;
};

std::vector<LogitsCase> logits_cases() {
  std::vector<LogitsCase> cases;
  for (const char* folder : {"deepseek", "moe"})
    for (const std::string& name : names_of(read_json(golden_dir() / folder / "cases.json")))
      if (name != "tiny-v3-long") cases.push_back({folder, name});  // beyond the context: training refuses it
  return cases;
}

class GoldenLogits : public ::testing::TestWithParam<LogitsCase> {};

TEST_P(GoldenLogits, AreTransformers) {
  const auto& [folder, name] = GetParam();
  nlohmann::json entry;
  for (const auto& one : read_json(golden_dir() / folder / "cases.json"))
    if (one.at("name") == name) entry = one;
  const auto path = golden_dir() / folder;
  const auto model = make_model(Checkpoint::open(path / "models" / entry.at("model").get<std::string>()), {});
  Batch batch;
  batch.tokens = integers(nlohmann::json::array({entry.at("tokens")}));
  const at::NoGradGuard no_gradient;
  const ForwardResult result = model->forward(batch, {});
  const Tensor logits = at::mm(result.rows, model->head().t());
  const NpyArray expected = read_npy(path / (name + ".logits.npy"));
  const auto values = expected.as<float>();
  const auto positions = entry.at("positions").get<std::vector<std::int64_t>>();
  const double tolerance = entry.at("tolerance");
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const Tensor row = logits[positions[i]];
    for (std::int64_t j = 0; j < row.size(0); ++j)
      ASSERT_NEAR(row[j].item<float>(), values[i * static_cast<std::size_t>(row.size(0)) + static_cast<std::size_t>(j)],
                  tolerance)
          << "position " << positions[i];
  }
  if (!entry.contains("smallest_margin")) return;  // a dense model
  const auto experts = read_npy(path / (name + ".experts.npy")).as<std::int32_t>();
  std::size_t place = 0;
  for (const LayerRouting& layer : result.routing) {
    const Tensor ids = layer.ids.contiguous();
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      ASSERT_EQ(ids.const_data_ptr<std::int64_t>()[i], experts.at(place++)) << "layer " << layer.layer;
  }
  EXPECT_EQ(place, experts.size());
}

INSTANTIATE_TEST_SUITE_P(Train, GoldenLogits, ::testing::ValuesIn(logits_cases()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace moebox::train::test

// Weights: drawn by seed, read from both formats, counted; and a spec written as config.json and read again.
#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "convert/convert.h"
#include "train/initial_weights.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

fs::path model_folder(const std::string& name) { return golden_dir() / "train/models" / name; }

std::unique_ptr<Model> described(const std::string& name, bool further_tokens = false) {
  return make_model(Checkpoint::describe(model_folder(name) / "config.json"), {.further_tokens = further_tokens});
}

TEST(InitialWeights, AreAFunctionOfSeedNameAndPlace) {
  const auto one = described("deepseek_v3"), two = described("deepseek_v3"), other = described("deepseek_v3");
  draw_weights(one->weights(), 7, 0.02);
  {
    const Threads three(3);
    draw_weights(two->weights(), 7, 0.02);
  }
  draw_weights(other->weights(), 8, 0.02);
  for (std::size_t i = 0; i < one->weights().all().size(); ++i) {
    const Weight& weight = one->weights().all()[i];
    EXPECT_TRUE(same_bits(weight.values, two->weights().all()[i].values));
    EXPECT_EQ(same_bits(weight.values, other->weights().all()[i].values), weight.kind != WeightKind::matrix);
  }
  const auto v2 = described("deepseek_v2");
  draw_weights(v2->weights(), 7, 0.02);
  const auto [a, part_a] = one->weights().find("model.layers.1.mlp.experts.5.down_proj.weight");
  const auto [b, part_b] = v2->weights().find("model.layers.1.mlp.experts.5.down_proj.weight");
  EXPECT_TRUE(same_bits(part_of(a->values, *part_a), part_of(b->values, *part_b))) << "another model, the same tensor";
}

TEST(InitialWeights, AreNormal) {
  const auto model = described("llama");
  draw_weights(model->weights(), 1, 0.5);
  const auto [weight, part] = model->weights().find("model.embed_tokens.weight");
  const Tensor values = weight->values.detach().to(at::kDouble);
  const double n = static_cast<double>(values.numel());
  EXPECT_NEAR(values.mean().item<double>(), 0.0, 4 * 0.5 / std::sqrt(n));
  EXPECT_NEAR(values.std().item<double>(), 0.5, 4 * 0.5 / std::sqrt(2 * n));
  EXPECT_NEAR(values.abs().gt(0.5).to(at::kDouble).mean().item<double>(), 0.3173, 4 * 0.4654 / std::sqrt(n));
  const auto [norm, norm_part] = model->weights().find("model.norm.weight");
  EXPECT_TRUE(norm->values.eq(1).all().item<bool>());
}

TEST(Weights, AreCounted) {
  const auto v3 = described("deepseek_v3");
  // Of 8 experts 3 are active; 3 matrices of 16 x 32 each, in two layers.
  const std::int64_t idle = 2 * 5 * 3 * 16 * 32, embedding = 96 * 32;
  EXPECT_EQ(v3->n_active_parameters(), v3->weights().n_parameters() - idle - embedding);
  const auto tied = described("qwen2");
  EXPECT_EQ(tied->n_active_parameters(), tied->weights().n_parameters());
}

class ReadAgain : public ::testing::TestWithParam<std::string> {
 protected:
  ReadAgain() : folder_(fs::temp_directory_path() / ("moebox_train_" + std::to_string(::getpid()) + "_" + GetParam())) {
    fs::create_directories(folder_);
  }
  ~ReadAgain() override { fs::remove_all(folder_); }
  bool mtp() const { return GetParam().ends_with("_mtp"); }

  const fs::path folder_;
};

/// What a GGUF file says of a model trains as the folder does: pairs of rotated rows, k_b and v_b apart, stacks.
TEST_P(ReadAgain, FromGguf) {
  const Checkpoint stored = Checkpoint::open(model_folder(GetParam()));
  for (const bool whole_kv_b : {false, true}) {
    const fs::path file = folder_ / (whole_kv_b ? "whole.gguf" : "split.gguf");
    convert(stored, file, {.type = "F32", .whole_kv_b = whole_kv_b});
    const auto from_folder = make_model(stored, {.further_tokens = mtp()});
    const auto from_gguf = make_model(Checkpoint::open(file), {.further_tokens = mtp()});
    ASSERT_EQ(from_folder->weights().all().size(), from_gguf->weights().all().size());
    for (std::size_t i = 0; i < from_folder->weights().all().size(); ++i) {
      const Weight &a = from_folder->weights().all()[i], &b = from_gguf->weights().all()[i];
      EXPECT_TRUE(same_bits(a.values, b.values)) << a.parts.front().name;
      EXPECT_EQ(a.parts.front().name, b.parts.front().name);
    }
  }
}

TEST_P(ReadAgain, ConfigSaysTheSameModel) {
  const auto model = make_model(Checkpoint::open(model_folder(GetParam())), {.further_tokens = mtp()});
  std::ofstream(folder_ / "config.json") << model->config().dump();
  fs::copy_file(model_folder(GetParam()) / "model.safetensors", folder_ / "model.safetensors");
  const auto again = make_model(Checkpoint::open(folder_), {.further_tokens = mtp()});
  EXPECT_EQ(again->config(), model->config());
  Batch batch;
  batch.tokens = at::arange(20, at::kLong).reshape({1, 20});
  const at::NoGradGuard no_gradient;
  EXPECT_TRUE(same_bits(again->forward(batch, {}).rows, model->forward(batch, {}).rows));
}

INSTANTIATE_TEST_SUITE_P(Train, ReadAgain,
                         ::testing::Values("deepseek_v3", "deepseek_v2", "deepseek_v2_attention", "deepseek_v3_mtp",
                                           "llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe"),
                         [](const auto& info) { return info.param; });

TEST(Model, SaysWhatItCannotTrain) {
  const auto refused = [](const nlohmann::json& change, const std::string& part, bool further_tokens = false) {
    const fs::path file = fs::temp_directory_path() / ("moebox_train_" + std::to_string(::getpid()) + ".json");
    nlohmann::json config = read_json(model_folder("llama") / "config.json");
    config.update(change);
    std::ofstream(file) << config.dump();
    try {
      const auto model = make_model(Checkpoint::describe(file), {.further_tokens = further_tokens});
      Batch batch;
      batch.tokens = at::zeros({1, 4}, at::kLong);
      draw_weights(model->weights(), 0, 0.02);
      model->forward(batch, {});
      ADD_FAILURE() << "trained in spite of " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
    fs::remove(file);
  };
  refused({{"rope_parameters", {{"rope_type", "dynamic"}, {"factor", 2.0}, {"rope_theta", 10000.0}}}}, "dynamic");
  refused(nlohmann::json::object(), "no layers that predict further tokens", true);
  refused({{"hidden_act", "gelu"}}, "gelu");
}

}  // namespace
}  // namespace moebox::train::test

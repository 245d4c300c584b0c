// A dense model that becomes one with experts is still that model.
#include "train/upcycle.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/export.h"
#include "train/initial_weights.h"
#include "train/loss.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

Batch some_text() {
  Batch batch;
  batch.tokens =
      (at::arange(2, at::kLong).unsqueeze(1) * 31 + at::arange(20, at::kLong).unsqueeze(0) * 7).remainder(96);
  batch.targets = shifted(batch.tokens);
  return batch;
}

Tensor logits_of(const Model& model) {
  const at::NoGradGuard no_gradient;
  return at::mm(model.forward(some_text(), {}).rows, model.head().t());
}

/// Of numbers of this size.
double relative_distance(const Tensor& found, const Tensor& expected) {
  return distance(found, expected) / length_of(expected);
}

class Upcycled : public ::testing::TestWithParam<const char*> {
 protected:
  Upcycled() : dense_(make_model(Checkpoint::describe(config(), GetParam()), {})) {
    draw_weights(dense_->weights(), 3, 0.2);
  }
  static nlohmann::json config() {
    nlohmann::json config = read_json(golden_dir() / "train/models" / GetParam() / "config.json");
    if (config["model_type"] == "llama") config["attention_bias"] = config["mlp_bias"] = false;  // Mixtral has none
    return config;
  }

  const std::unique_ptr<Model> dense_;
};

TEST_P(Upcycled, CopiesAreTheDenseModel) {
  const auto model = upcycle(*dense_, {.n_experts = 4, .top_k = 2, .noise = 0}, {});
  EXPECT_EQ(model->max_experts_per_token(), 2);
  EXPECT_GT(model->weights().n_parameters(), dense_->weights().n_parameters());
  EXPECT_LT(relative_distance(logits_of(*model), logits_of(*dense_)), 1e-5);
  const auto noisy = upcycle(*dense_, {.n_experts = 4, .top_k = 2, .noise = 0.01}, {});
  const double moved = relative_distance(logits_of(*noisy), logits_of(*dense_));
  EXPECT_GT(moved, 1e-5);
  EXPECT_LT(moved, 0.1);
  const auto again = upcycle(*dense_, {.n_experts = 4, .top_k = 2, .noise = 0.01}, {});
  EXPECT_EQ(noisy->weights().digest(), again->weights().digest());
}

TEST_P(Upcycled, PiecesAddUpToTheDenseModel) {
  // All of them, each counting as much.
  const auto model = upcycle(*dense_, {.n_experts = 4, .top_k = 4, .pieces = 4, .noise = 0, .deviation = 0}, {});
  EXPECT_LT(relative_distance(logits_of(*model), logits_of(*dense_)), 1e-5);
  EXPECT_THROW(upcycle(*dense_, {.n_experts = 6, .top_k = 2, .pieces = 4}, {}), Error);
  EXPECT_THROW(upcycle(*dense_, {.n_experts = 4, .top_k = 5}, {}), Error);
}

TEST_P(Upcycled, IsWrittenAndReadAsWhatItIs) {
  const fs::path folder = fs::temp_directory_path() / ("moebox_upcycled_" + std::to_string(::getpid()));
  const auto model = upcycle(*dense_, {.n_experts = 4, .top_k = 2}, {});
  export_folder(*model, folder, {});
  const auto read = make_model(Checkpoint::open(folder), {});
  EXPECT_EQ(read->weights().digest(), model->weights().digest());
  EXPECT_TRUE(same_bits(logits_of(*read), logits_of(*model)));
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Train, Upcycled, ::testing::Values("llama", "qwen2", "qwen3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Upcycling, RefusesOtherModels) {
  const auto model = make_model(Checkpoint::open(golden_dir() / "train/models/deepseek_v3"), {});
  EXPECT_THROW(upcycle(*model, {.n_experts = 4}, {}), Error);
  const auto biased = make_model(Checkpoint::open(golden_dir() / "train/models/llama"), {});
  EXPECT_THROW(upcycle(*biased, {.n_experts = 4}, {}), Error);
}

}  // namespace
}  // namespace moebox::train::test

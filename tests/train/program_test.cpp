// The program moebox-train on a data set: what it says, what it leaves, Ctrl-C, and what it refuses.
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "train/loader_batches.h"
#include "train/program_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

TEST_F(TrainProgram, TrainsByARecipe) {
  const std::string file = recipe(5).string();
  ASSERT_EQ(run({file, "--check"}), 0) << said();
  expect_said("5 steps of 128 tokens");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
  ASSERT_EQ(run({file}), 0) << said();
  expect_said("deepseek_v3: ");
  expect_said("step 5/5  loss ");
  expect_said("tokens/s");
  expect_said("experts ");
  expect_said("done: " + (folder_ / "run/model").string());
  EXPECT_TRUE(fs::exists(folder_ / "run/model/model.safetensors"));
  ASSERT_EQ(run({file}), 2) << "a second run in the same folder: " << said();
  expect_said("another run has been here");
}

TEST_F(TrainProgram, CtrlCSaves) {
  const pid_t process = start({recipe(100'000).string()});
  for (int i = 0; i < 600 && said().find("step 3/") == std::string::npos; ++i) ::usleep(100'000);
  ::kill(process, SIGINT);
  EXPECT_EQ(exit_code(process), 130) << said();
  expect_said("stopped after step ");
  expect_said("to go on exactly: moebox train " + (folder_ / "recipe.toml").string() + " --resume");
  EXPECT_NO_THROW(make_model(Checkpoint::open(folder_ / "run/model"), {}));
}

TEST_F(TrainProgram, RefusesByName) {
  EXPECT_EQ(run({recipe(5, "every = 3\n").string()}), 2);
  expect_said("output.every: there is no such key");
  EXPECT_EQ(run({(folder_ / "nowhere.toml").string()}), 3);
  EXPECT_EQ(run({}), 2);
  fs::remove(folder_ / "shards/dataset.json");
  EXPECT_EQ(run({recipe(5).string()}), 3);
  expect_said("dataset.json");
}

TEST_F(TrainProgram, ReadsWhatTheLoaderPacks) {
  const auto source = open_batches(read_recipe(recipe(5)));
  EXPECT_EQ(source->vocabulary_size(), 1000);
  const Batch batch = source->next();
  EXPECT_EQ(batch.tokens.sizes(), (std::vector<std::int64_t>{4, 32}));
  EXPECT_EQ(batch.tokens.scalar_type(), at::kLong);
  EXPECT_EQ(batch.documents.scalar_type(), at::kInt);
  // Where a token and the next one are of one document, the target is the next one, or nothing is to be learnt.
  std::int64_t n_learnt = 0, n_masked = 0;
  for (std::int64_t row = 0; row < 4; ++row)
    for (std::int64_t i = 0; i + 1 < 32; ++i) {
      const auto target = batch.targets[row][i].item<std::int64_t>();
      if (batch.documents[row][i].item<int>() < 0) {
        EXPECT_EQ(target, no_target);
      } else if (batch.documents[row][i].item<int>() == batch.documents[row][i + 1].item<int>()) {
        const bool learnt = target != no_target;
        if (learnt) {
          EXPECT_EQ(target, batch.tokens[row][i + 1].item<std::int64_t>());
        }
        ++(learnt ? n_learnt : n_masked);
      }
    }
  EXPECT_GT(n_learnt, 40);
}

}  // namespace
}  // namespace moebox::train::test

// The program moebox-train on a data set: what it says, what it leaves, Ctrl-C, and what it refuses.
#include <csignal>
#include <filesystem>
#include <random>

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

TEST_F(TrainProgram, RefusesWhatIsNoRecipe) {
  EXPECT_EQ(run({folder_.string()}), 2);
  expect_said("expected a recipe, a TOML file, found a folder");
  std::ofstream(folder_ / "long.toml") << std::string(100'000'000, '#');
  EXPECT_EQ(run({(folder_ / "long.toml").string()}), 2);
  expect_said("at most 65536 bytes");
  std::string noise(3000, '\0');
  std::mt19937 random(1);
  for (char& c : noise) c = static_cast<char>(random());
  std::ofstream(folder_ / "noise.toml") << noise;
  EXPECT_EQ(run({(folder_ / "noise.toml").string()}), 2);
  expect_said("noise.toml:1");
}

TEST_F(TrainProgram, RefusesAModelByItsFile) {
  const nlohmann::json config = read_json(folder_ / "config.json");
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    changed[key] = value;
    std::ofstream(folder_ / "config.json") << changed.dump();
    const int code = run({recipe(5).string(), "--check"});
    EXPECT_FALSE(fs::exists(folder_ / "run"));
    return code;
  };
  EXPECT_EQ(refused("hidden_size", 1'000'000'000'000), 4);
  expect_said((folder_ / "config.json").string() + ": \"hidden_size\": expected 1 to ");
  EXPECT_EQ(refused("hidden_size", "32"), 4);
  EXPECT_EQ(refused("n_routed_experts", -1), 4);
  EXPECT_EQ(refused("vocab_size", 999), 2);
  expect_said("the data's vocabulary of 1000 tokens does not fit the model's of 999");
  nlohmann::json large = config;
  for (const char* key : {"hidden_size", "moe_intermediate_size"}) large[key] = 1 << 20;
  large["n_routed_experts"] = 4096;
  std::ofstream(folder_ / "config.json") << large.dump();
  EXPECT_EQ(run({recipe(5).string(), "--check"}), 7);
  expect_said("the model does not fit into memory");
  std::ofstream(folder_ / "config.json") << "not json";
  EXPECT_EQ(run({recipe(5).string(), "--check"}), 4);
  expect_said("config.json");
}

TEST_F(TrainProgram, RefusesAnOutputThatCannotBe) {
  std::ofstream(folder_ / "run") << "a file";
  EXPECT_EQ(run({recipe(5).string(), "--check"}), 2);
  expect_said("output.folder: " + (folder_ / "run").string() + ": expected a folder");
  fs::remove(folder_ / "run");
  fs::create_directories(folder_ / "run");
  fs::permissions(folder_ / "run", fs::perms::owner_read | fs::perms::owner_exec);
  if (::geteuid() != 0) {  // nothing is read-only to root but a file system
    EXPECT_EQ(run({recipe(5).string(), "--check"}), 8);
    expect_said("cannot be written to");
  }
}

TEST_F(TrainProgram, DataWithNothingToLearnAreAnError) {
  const auto shards = [&](std::vector<moebox::test::TestDocument> documents) {
    fs::remove_all(folder_ / "shards");
    fs::remove_all(folder_ / "run");
    fs::create_directories(folder_ / "shards");
    moebox::test::write_dataset(folder_ / "shards", {{"text", std::move(documents)}});
  };
  shards(moebox::test::documents_of({1}, 96));
  EXPECT_EQ(run({recipe(5).string()}), 2);
  expect_said((folder_ / "shards").string() + ": weights: no domain has a token to learn");
  std::vector<moebox::test::TestDocument> masked = moebox::test::documents_of({1000}, 96);
  masked[0].mask.assign(1000, 0);
  masked[0].mask.back() = 1;  // an answer that no row of the first batch has
  shards(masked);
  EXPECT_EQ(run({recipe(5).string()}), 2);
  expect_said((folder_ / "shards").string() + ": loss_mask: no token of batch 0 is to be learnt");
  shards(moebox::test::documents_of({3}, 96));  // less than a row: it is taken again and again
  EXPECT_EQ(run({recipe(5).string()}), 0) << said();
  expect_said("times the data");
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

// The program moebox-train on a data set: what it says, what it leaves, Ctrl-C, and what it refuses.
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "data/data_testing.h"
#include "train/loader_batches.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

class TrainProgram : public ::testing::Test {
 protected:
  TrainProgram() : folder_(fs::temp_directory_path() / ("moebox_train_program_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_ / "shards");
    std::vector<moebox::test::TestDocument> documents = moebox::test::documents_of({40, 25, 60, 33, 50, 41, 28}, 96);
    documents[1].mask.assign(documents[1].ids.size(), 0);  // nothing of it is to be learnt
    moebox::test::write_dataset(folder_ / "shards", {{"text", std::move(documents)}});
    // The helper's vocabulary is of 1,000 tokens.
    nlohmann::json config = read_json(golden_dir() / "train/models/deepseek_v3/config.json");
    config["vocab_size"] = 1000;
    std::ofstream(folder_ / "config.json") << config.dump();
  }
  ~TrainProgram() override { fs::remove_all(folder_); }

  fs::path recipe(int steps, const std::string& more = "") const {
    std::ofstream(folder_ / "recipe.toml") << "threads = 1\n"
                                           << "[model]\nconfig = \"config.json\"\n"
                                           << "[data]\nfolder = \"shards\"\nsequence_tokens = 32\nsequences = 4\n"
                                           << "[optimizer]\nlearning_rate = 3e-3\n"
                                           << "[schedule]\nsteps = " << steps << "\n"
                                           << "[output]\nfolder = \"run\"\nlog_every = 1\n"
                                           << more;
    return folder_ / "recipe.toml";
  }

  /// The program's process; what it says goes to `said`.
  pid_t start(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {MOEBOX_TRAIN_PROGRAM, "train"});
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int said = ::open((folder_ / "said").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(said, STDOUT_FILENO);
    ::dup2(said, STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  static int exit_code(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int run(const std::vector<std::string>& arguments) const { return exit_code(start(arguments)); }
  std::string said() const {
    std::ifstream in(folder_ / "said");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void expect_said(const std::string& part) const {
    EXPECT_NE(said().find(part), std::string::npos) << part << " is not in\n" << said();
  }

  const fs::path folder_;
};

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
  expect_said("[model] checkpoint = ");
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

// Whole runs: what stands in the folder afterwards, what is refused before anything is loaded, what a line of progress
// says.
#include "train/run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "models/golden_data.h"
#include "train/progress.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

namespace fs = std::filesystem;

/// Sequences that count on: there is something to learn, and no file to read.
class Counting : public BatchSource {
 public:
  Counting(std::int64_t sequences, std::int64_t length, std::int64_t vocabulary = 96)
      : sequences_(sequences), length_(length), vocabulary_(vocabulary) {}

  Batch next() override {
    Batch batch;
    batch.tokens =
        (at::arange(sequences_, at::kLong).unsqueeze(1) * 17 + at::arange(length_, at::kLong).unsqueeze(0) + n_++)
            .remainder(vocabulary_);
    batch.targets = shifted(batch.tokens);
    return batch;
  }
  std::string save() const override { return std::to_string(n_); }
  void restore(const std::string& state) override { n_ = std::stoll(state); }
  std::int64_t vocabulary_size() const override { return vocabulary_; }
  std::int64_t n_tokens() const override { return 1000; }
  std::string digest() const override { return "counting"; }

 private:
  std::int64_t sequences_, length_, vocabulary_, n_ = 0;
};

/// Counts below 95, but for some batches that are nothing but token 95; or these are passed over.
class Disturbed : public BatchSource {
 public:
  enum class Bad { taken, left_out };
  static constexpr std::int64_t first = 4, last = 7, token = 95;  // batches [first, last)

  explicit Disturbed(Bad bad) : bad_(bad) {}

  Batch next() override {
    if (n_ == first && bad_ == Bad::left_out) n_ = last;
    Batch batch;
    batch.tokens = (at::arange(4, at::kLong).unsqueeze(1) * 17 + at::arange(16, at::kLong).unsqueeze(0) + n_ * 31)
                       .remainder(std::int64_t{token});
    if (n_ >= first && n_ < last) batch.tokens.fill_(std::int64_t{token});
    batch.targets = shifted(batch.tokens);
    ++n_;
    return batch;
  }
  std::string save() const override { return std::to_string(n_); }
  void restore(const std::string& state) override { n_ = std::stoll(state); }
  std::int64_t vocabulary_size() const override { return 96; }
  std::int64_t n_tokens() const override { return 1000; }
  std::string digest() const override { return "disturbed"; }

 private:
  const Bad bad_;
  std::int64_t n_ = 0;
};

class Runs : public ::testing::Test {
 protected:
  Runs() : folder_(fs::temp_directory_path() / ("moebox_run_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
    recipe_.model.config = golden_dir() / "train/models/deepseek_v3/config.json";
    recipe_.model.seed = 5;
    recipe_.data = {.folder = {}, .sequence_tokens = 16, .sequences = 4, .accumulate = 2};
    recipe_.loss.bias_rate = 1e-3;
    recipe_.schedule = {.steps = 5, .warmup_steps = 1, .learning_rate = 3e-3};
    recipe_.output.folder = folder_ / "run";
    recipe_.output.gguf = "F32";
  }
  ~Runs() override { fs::remove_all(folder_); }

  std::unique_ptr<TrainingRun> begin() const {
    auto run = std::make_unique<TrainingRun>(
        recipe_, std::make_unique<Counting>(recipe_.data.sequences, recipe_.data.sequence_tokens));
    run->begin();
    return run;
  }

  void expect_refused(const std::string& part) {
    try {
      begin();
      ADD_FAILURE() << "it began in spite of " << part;
    } catch (const Error& error) {
      const std::string all = std::string(error.what()) + error.where();
      EXPECT_NE(all.find(part), std::string::npos) << all;
    }
  }

  const fs::path folder_;
  Recipe recipe_;
};

TEST_F(Runs, LeaveALogAndAModelThatTheEngineReads) {
  const auto begun = begin();
  TrainingRun& run = *begun;
  EXPECT_EQ(run.plan().architecture, "deepseek_v3");
  EXPECT_EQ(run.plan().tokens_per_step, 64);
  EXPECT_EQ(run.plan().memory_bytes, run.plan().n_parameters * 16);
  double loss = 0;
  while (!run.done()) loss = run.step().cross_entropy;
  EXPECT_EQ(run.save(), folder_ / "run/model");

  std::ifstream log(folder_ / "run/train.log.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(log, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 6U);
  EXPECT_EQ(lines[0].at("data"), "counting");
  EXPECT_EQ(lines[0].at("config").at("model_type"), "deepseek_v3");
  for (int step = 1; step <= 5; ++step) {
    const auto& line = lines[static_cast<std::size_t>(step)];
    EXPECT_EQ(line.at("step"), step);
    EXPECT_EQ(line.at("tokens"), 64);
    EXPECT_EQ(line.at("load").size(), 2U);
    EXPECT_TRUE(line.at("loss").is_number());
  }
  EXPECT_DOUBLE_EQ(lines[5].at("cross_entropy"), loss);

  // The model that was trained, not the one that it began with: its loss in the engine is the next step's.
  const std::vector<TokenId> tokens = {10, 11, 12, 13, 14, 15, 16, 17};
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7};
  const at::NoGradGuard no_gradient;
  Batch batch;
  batch.tokens = at::arange(10, 18, at::kLong).unsqueeze(0);
  const Tensor logits = at::mm(run.model().forward(batch, {}).rows, run.model().head().t()).contiguous();
  for (const char* name : {"model", "model.gguf"}) {
    moebox::test::LoadedModel loaded(folder_ / "run" / name, KvType::f32, 1);
    EXPECT_LE(moebox::test::relative_rms(moebox::test::logits_at(loaded, tokens, all, 8),
                                         {logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())}),
              1e-5);
  }
}

TEST_F(Runs, AreTheSameTwice) {
  recipe_.output.gguf.clear();
  std::vector<Tensor> first;
  {
    const auto begun = begin();
    TrainingRun& run = *begun;
    while (!run.done()) run.step();
    for (const Weight& weight : run.model().weights().all()) first.push_back(weight.values.detach().clone());
  }
  recipe_.output.folder = folder_ / "again";
  const auto begun = begin();
  TrainingRun& run = *begun;
  while (!run.done()) run.step();
  for (std::size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(same_bits(first[i], run.model().weights().all()[i].values.detach()));
}

TEST_F(Runs, GoOnFromWhatAnotherOneWrote) {
  {
    const auto begun = begin();
    TrainingRun& run = *begun;
    while (!run.done()) run.step();
    run.save();
  }
  std::ofstream(folder_ / "run/model/tokenizer.json") << "{}";
  for (const char* name : {"model", "model.gguf"}) {
    recipe_.model = {};
    recipe_.model.checkpoint = folder_ / "run" / name;
    recipe_.output.folder = folder_ / (std::string("from_") + name);
    recipe_.output.gguf.clear();
    const auto begun = begin();
    TrainingRun& run = *begun;
    EXPECT_TRUE(run.plan().from_checkpoint);
    EXPECT_FALSE(run.step().skipped);
    // The checkpoint's own tokenizer goes along.
    EXPECT_EQ(fs::exists(run.save() / "tokenizer.json"), std::string_view(name) == "model");
  }
}

TEST_F(Runs, GoBackWhenTheyAreStuckAndTakeOtherData) {
  recipe_.output.gguf.clear();
  recipe_.schedule.steps = 12;
  recipe_.checkpoint.every_steps = 2;
  recipe_.optimizer.max_skipped = 2;
  recipe_.optimizer.max_returns = 1;
  const auto lines = [&] {
    std::vector<nlohmann::json> lines;
    std::ifstream log(folder_ / "run/train.log.jsonl");
    for (std::string line; std::getline(log, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  };
  const auto run = begin();
  const auto poison = [&] {
    const at::NoGradGuard no_gradient;
    run->model().weights().all().front().values.detach().fill_(std::numeric_limits<float>::quiet_NaN());
  };
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(run->step().skipped);
  poison();
  EXPECT_TRUE(run->step().skipped);
  // That of step 4 may still be on its way.
  EXPECT_LE(CheckpointStore(folder_ / "run/checkpoints").steps().back(), 4) << "none of a step that was skipped";
  EXPECT_TRUE(run->step().skipped);
  const std::string rows = lines()[5].at("rows");
  EXPECT_TRUE(run->step().skipped);
  EXPECT_EQ(run->n_done(), 4) << "step 8 was the third in a row";
  const std::vector<std::string> notes = run->take_notes();
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find("in step 8: back to the checkpoint of step 4"), std::string::npos) << notes[0];
  EXPECT_EQ(lines().size(), 5U);
  EXPECT_FALSE(run->step().skipped);
  EXPECT_EQ(lines()[5].at("step"), 5);
  EXPECT_EQ(lines()[5].at("left_out"), 4);
  EXPECT_NE(lines()[5].at("rows"), rows) << "batch 9, not batch 5 again";

  // Done again from the beginning it gives the same lines, what was left out is left out.
  const RunMode mode = RunMode::replayed;
  TrainingRun again(recipe_, std::make_unique<Counting>(4, 16), mode);
  for (std::int64_t step = 1; step <= 5; ++step) {
    const nlohmann::json line = lines()[static_cast<std::size_t>(step)];
    EXPECT_EQ(again.replay(line.value("left_out", 0)).content.at("loss"), line.at("loss")) << step;
  }

  poison();
  run->step();
  run->step();
  EXPECT_THROW(run->step(), Error) << "once is all that the recipe allows";
}

class DisturbedRuns : public Runs {
 protected:
  DisturbedRuns() {
    recipe_.output.gguf.clear();
    recipe_.schedule.steps = 10;
    recipe_.checkpoint.every_steps = 2;
  }
  /// `of_nan`: the embedding of the token that only the bad batches have is no number.
  std::unique_ptr<TrainingRun> begin(Disturbed::Bad bad, bool of_nan) const {
    fs::remove_all(recipe_.output.folder);
    auto run = std::make_unique<TrainingRun>(recipe_, std::make_unique<Disturbed>(bad));
    run->begin();
    const at::NoGradGuard no_gradient;
    if (of_nan)
      run->model()
          .weights()
          .find("model.embed_tokens.weight")
          .first->values.detach()[Disturbed::token]
          .fill_(std::numeric_limits<float>::quiet_NaN());
    return run;
  }
  static std::vector<Tensor> weights_of(const TrainingRun& run) {
    std::vector<Tensor> weights;
    for (const Weight& weight : run.model().weights().all()) weights.push_back(weight.values.detach().clone());
    return weights;
  }
  /// A gradient's length between those of good batches and those of bad ones.
  double between() const {
    const auto run = begin(Disturbed::Bad::taken, false);
    double good = 0, bad = std::numeric_limits<double>::infinity();
    for (std::int64_t i = 0; i < Disturbed::last; ++i) {
      const double norm = run->step().gradient_norm;
      if (i < Disturbed::first) good = std::max(good, norm);
      if (i >= Disturbed::first) bad = std::min(bad, norm);
    }
    EXPECT_LT(2 * good, bad);
    return (good + bad) / 2;
  }
};

TEST_F(DisturbedRuns, SkipStepsWhoseGradientIsTooLong) {
  recipe_.optimizer.skip_above = between();
  const auto run = begin(Disturbed::Bad::taken, false);
  for (std::int64_t i = 0; i < recipe_.schedule.steps; ++i) {
    const std::vector<Tensor> before = weights_of(*run);
    const StepReport report = run->step();
    const bool bad = i >= Disturbed::first && i < Disturbed::last;
    EXPECT_EQ(report.skipped, bad) << "batch " << i << ": " << report.gradient_norm;
    EXPECT_TRUE(std::isfinite(report.gradient_norm));
    const std::vector<Tensor> after = weights_of(*run);
    EXPECT_EQ(std::equal(before.begin(), before.end(), after.begin(), same_bits), bad)
        << "a skipped step changes nothing";
  }
  EXPECT_EQ(run->n_skipped(), Disturbed::last - Disturbed::first);
  EXPECT_TRUE(run->take_notes().empty()) << "three in a row are fewer than max_skipped";
}

TEST_F(DisturbedRuns, LeaveOutTheDataThatDoIt) {
  recipe_.optimizer.max_skipped = 2;
  for (const bool of_nan : {true, false}) {
    recipe_.optimizer.skip_above = 0;
    if (!of_nan) recipe_.optimizer.skip_above = between();
    std::vector<Tensor> expected;
    {
      const auto never = begin(Disturbed::Bad::left_out, of_nan);
      while (!never->done()) EXPECT_FALSE(never->step().skipped);
      expected = weights_of(*never);
    }
    const auto run = begin(Disturbed::Bad::taken, of_nan);
    while (!run->done()) {
      const StepReport report = run->step();
      EXPECT_EQ(report.skipped && of_nan, !std::isfinite(report.loss));
    }
    const std::vector<std::string> notes = run->take_notes();
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("in step 7: back to the checkpoint of step 4, with other data"), std::string::npos)
        << notes[0];
    const std::vector<Tensor> found = weights_of(*run);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), found.begin(), same_bits))
        << "the run is the one that never saw them";
    std::ifstream log(recipe_.output.folder / "train.log.jsonl");
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(log, line);) lines.push_back(nlohmann::json::parse(line));
    ASSERT_EQ(lines.size(), 11U);
    EXPECT_EQ(lines[5].at("left_out"), Disturbed::last - Disturbed::first);
  }
}

TEST_F(Runs, AreRefusedByName) {
  const Recipe good = recipe_;
  recipe_.data.sequence_tokens = 65;
  expect_refused("data.sequence_tokens");
  recipe_ = good;
  recipe_.budget.max_experts = 4;  // the model takes 3
  expect_refused("budget.max_experts");
  recipe_ = good;
  recipe_.model.tokenizer = folder_;
  expect_refused("model.tokenizer");
  recipe_ = good;
  EXPECT_THROW(TrainingRun(recipe_, std::make_unique<Counting>(4, 16, 97)), Error);  // another vocabulary
  EXPECT_FALSE(fs::exists(recipe_.output.folder)) << "nothing may be there before all is checked";
  begin();
  expect_refused("output.folder");
}

TEST(Progress, SaysHowFarItIs) {
  Progress progress(100);
  StepReport report;
  report.n_tokens = 1000;
  report.gradient_norm = 0.5;
  report.learning_rate = 3e-4;
  report.loads = {{1, {30, 10, 20, 0}}};
  for (std::int64_t step = 1; step <= 4; ++step) {
    report.step = step;
    report.cross_entropy = static_cast<double>(step);
    report.skipped = step == 4;
    progress.add(report, 2.0);
  }
  EXPECT_EQ(
      progress.line(),
      "step 4/100  loss 2.0000  gradient 0.5  rate 0.0003  500 tokens/s  3:12 left  experts 2.00x, 1 idle  1 skipped");
  progress.next_window();
  report.step = 5;
  report.skipped = false;
  report.loads.clear();
  progress.add(report, 1.0);
  EXPECT_EQ(progress.line(), "step 5/100  loss 4.0000  gradient 0.5  rate 0.0003  1000 tokens/s  2:51 left  1 skipped");
}

TEST(Progress, WritesDurations) {
  EXPECT_EQ(duration_text(7.6), "8 s");
  EXPECT_EQ(duration_text(125), "2:05");
  EXPECT_EQ(duration_text(4050), "1:07:30");
}

}  // namespace
}  // namespace moebox::train::test

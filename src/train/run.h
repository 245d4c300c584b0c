// A whole training run: a recipe and its data become a folder with a log and a model. It knows no terminal: who shows
// progress or stops it asks between steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file_lock.h"
#include "train/batch_source.h"
#include "train/checkpoint_store.h"
#include "train/ranks.h"
#include "train/recipe.h"
#include "train/run_log.h"
#include "train/trainer.h"

namespace moebox::train {

using report::log_name;
using report::recipe_name;

/// What will be done, for a person to read before it begins.
struct RunPlan {
  std::string architecture;
  std::int64_t n_parameters = 0, n_active = 0;
  std::int64_t steps = 0, tokens_per_step = 0;
  std::int64_t data_tokens = 0;   // 0: not known
  std::int64_t memory_bytes = 0;  // of weights, gradients and moments; activations come on top
  int threads = 0;                // of each process
  int n_ranks = 1;
  int n_expert_ranks = 1;  // that hold a layer's experts together
  int n_tensor_ranks = 1;  // that compute a layer together
  std::int64_t place_every = 0;
  std::int64_t sequences = 0;  // of a step
  bool bf16 = false;
  bool from_checkpoint = false;
  /// Of the first part of the first batch: as a dense model, and as one with experts. Nothing: not upcycled.
  std::optional<std::pair<double, double>> upcycled{};
};

enum class RunMode {
  fresh,    // in a folder where no run has been
  resumed,  // from the newest sound checkpoint; where there is none, from the beginning
  replayed  // nothing is written
};

/// One step done again: what its line of the log should say.
struct ReplayedStep {
  nlohmann::ordered_json content;
  std::string weights;  // their digest afterwards
};

/// What can be known before any data or weights are read: that no other run has been in the output folder, that one can
/// be made, and that the tokenizer is there. Throws Error that names the key.
void check_places(const Recipe& recipe, RunMode mode);

/// Several ranks have a run each, and see one output folder; each calls the same functions in the same order. The first
/// one writes log and model.
class TrainingRun {
 public:
  /// Checks the output folder, the model's sizes against the data, and everything else that can be known, before it
  /// loads or draws weights. Throws Error.
  TrainingRun(const Recipe& recipe, std::unique_ptr<BatchSource> source, RunMode mode = RunMode::fresh,
              std::shared_ptr<World> world = make_world_of_one());
  ~TrainingRun();
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;

  const RunPlan& plan() const noexcept { return plan_; }
  const Model& model() const noexcept { return *model_; }
  bool done() const noexcept { return trainer_->done(); }
  std::int64_t n_done() const noexcept { return trainer_->n_done(); }
  std::int64_t n_skipped() const noexcept { return trainer_->n_skipped(); }

  /// Makes the output folder and the log, or goes on in them; they are this run's alone as long as it lives. Before the
  /// first step. Throws Error; a recipe that is not the one the checkpoint was made by is refused with the keys that
  /// differ, a model or a tokenizer that is not the run's with its file.
  void begin();
  /// One step, logged; then a checkpoint where one is due, which is written beside the next steps. When too many steps
  /// in a row had to be skipped, the run goes back to a checkpoint, with other data. Throws Error.
  StepReport step();
  /// Whether any rank says so: all of them get the same answer.
  bool any_rank(bool says_so);
  /// A checkpoint of now, on the disk when this returns. False where it could not be written: the notes say why.
  bool checkpoint();
  /// What a person should know, since the last call: where it went on, damaged checkpoints, a full disk.
  std::vector<std::string> take_notes();
  /// Writes OUTPUT/model, and OUTPUT/model.gguf where the recipe asks for one; both replace what a save before wrote.
  /// Returns the folder. Ranks but the first write nothing.
  std::filesystem::path save();

  /// The first line of the log.
  nlohmann::ordered_json head() const;
  /// Of a replayed run: takes the state of this checkpoint; without it a replay begins with step 1. Throws Error.
  void load(std::int64_t step);
  /// Of a replayed run: leaves out so many batches, and does a step.
  ReplayedStep replay(std::int64_t left_out);

 private:
  void resume();
  void go_back();
  void upcycle_model();
  double loss_now();
  using Fits = std::function<bool(std::int64_t step, const nlohmann::json& facts)>;
  std::int64_t find_checkpoint(const Fits& fits, std::string& problems);
  void open_log(std::int64_t step);
  nlohmann::ordered_json learn(StepReport& report);
  Snapshot snapshot() const;
  void read_checkpoint(std::int64_t step);
  void take_facts(const nlohmann::json& facts);
  bool is_checkpoint_due(std::int64_t step) const;
  void start_checkpoint();
  bool finish_checkpoint();

  Recipe recipe_;
  const RunMode mode_;
  const std::shared_ptr<World> world_;
  const Ranks ranks_;
  std::unique_ptr<BatchSource> source_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<FileLock> lock_;
  std::unique_ptr<RunLog> log_;
  const CheckpointStore store_;
  RunPlan plan_;
  std::int64_t n_batches_ = 0;  // taken, those that were left out included
  std::int64_t left_out_ = 0;   // before the next step's
  std::int64_t n_returns_ = 0;
  std::int64_t n_checkpoints_ = 0;  // that this process began
  std::vector<std::string> notes_;
  std::chrono::steady_clock::time_point last_checkpoint_;
  std::thread writer_;
  std::string writer_problem_;  // the writer's until it has ended
};

}  // namespace moebox::train

// A whole training run: a recipe and its data become a folder with a log and a model. It knows no terminal: who shows
// progress or stops it asks between steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "train/batch_source.h"
#include "train/recipe.h"
#include "train/run_log.h"
#include "train/trainer.h"

namespace moebox::train {

/// What will be done, for a person to read before it begins.
struct RunPlan {
  std::string architecture;
  std::int64_t n_parameters = 0, n_active = 0;
  std::int64_t steps = 0, tokens_per_step = 0;
  std::int64_t data_tokens = 0;   // 0: not known
  std::int64_t memory_bytes = 0;  // of weights, gradients and moments; activations come on top
  int threads = 0;
  bool bf16 = false;
  bool from_checkpoint = false;
};

class TrainingRun {
 public:
  /// Checks the output folder, the model's sizes against the data, and everything else that can be known, before it
  /// loads or draws weights. Throws Error.
  TrainingRun(const Recipe& recipe, std::unique_ptr<BatchSource> source);

  const RunPlan& plan() const noexcept { return plan_; }
  const Model& model() const noexcept { return *model_; }
  bool done() const noexcept { return trainer_->done(); }
  std::int64_t n_skipped() const noexcept { return trainer_->n_skipped(); }

  /// Makes the output folder and the log. Before the first step.
  void begin();
  /// One step, logged. Throws Error.
  StepReport step();
  /// Writes OUTPUT/model, and OUTPUT/model.gguf where the recipe asks for one; both replace what a save before wrote.
  /// Returns the folder.
  std::filesystem::path save();

 private:
  Recipe recipe_;
  std::unique_ptr<BatchSource> source_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<RunLog> log_;
  RunPlan plan_;
};

}  // namespace moebox::train

// One training step after the other: a batch in parts, gradients added up, checked, clipped, stepped; the gates' bias
// moved. Several ranks share a step's sequences. It knows no files and no terminal.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/expert_placement.h"
#include "train/gradient_exchange.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/ranks.h"
#include "train/schedule.h"
#include "train/shares.h"

namespace moebox::train {

struct TrainerOptions {
  Schedule schedule;
  AdamWOptions adamw;
  std::optional<MuonOptions> muon{};  // of the layers' matrices; nothing: AdamW moves them, too
  LossOptions loss;
  ForwardOptions forward{};
  std::int64_t accumulate = 1;   // parts that a batch's sequences are taken in; they divide it
  double clip = 1.0;             // longest gradient; 0: any
  double bias_rate = 0.0;        // step of the gates' correction bias; 0: it stays
  double skip_above = 0.0;       // longest gradient of a step that is not skipped; 0: any that is finite
  int max_skipped = 10;          // steps in a row that may be skipped
  bool balance_ranks = false;    // quicker ranks get more of a step's sequences
  std::int64_t place_every = 0;  // steps between placements of experts among the ranks by load; 0: they stay
};

struct StepReport {
  std::int64_t step = 0;      // from 1
  std::int64_t n_tokens = 0;  // without padding
  std::int64_t n_targets = 0;
  double loss = 0, cross_entropy = 0;
  std::vector<double> further;  // of the layers that predict further tokens
  double balance = 0, z = 0;    // 0 without experts
  double gradient_norm = 0;     // before clipping
  double learning_rate = 0;
  bool skipped = false;  // loss or gradient was not finite, or too long: nothing was changed
  std::vector<LayerLoad> loads;
  std::vector<std::int64_t> shares;  // sequences of each group of ranks that have the same ones
  double busiest_rank = 0;           // tokens at its experts over the ranks' mean, of the layer where it is worst
  std::vector<PlacedLayer> placed;   // layers whose experts were moved behind this step
};

/// What the next step depends on besides weights and moments.
struct TrainerCounters {
  std::int64_t n_done = 0, n_skipped = 0, n_skipped_in_a_row = 0;
  std::map<std::string, std::int64_t> optimizer_steps{};  // of the weights that this rank owns
  std::vector<std::int64_t> shares{};                     // of the groups of ranks; empty: even ones
};

class Trainer {
 public:
  /// `model` must outlive this object. All ranks have the same weights, but for experts that they hold together. Throws
  /// Error(invalid_argument) for options that the model, or such ranks, do not have.
  Trainer(const Model& model, const TrainerOptions& options, Ranks ranks = {});

  /// Learns from `batch`, which is the same in every rank, and says the same in every rank. Throws
  /// Error(invalid_argument) for a batch that is none, or whose sequences cannot be taken in so many parts.
  StepReport step(const Batch& batch);
  /// More than max_skipped steps in a row had to be skipped: this does not recover by itself.
  bool is_stuck() const noexcept { return n_skipped_in_a_row_ > options_.max_skipped; }
  std::int64_t n_skipped_in_a_row() const noexcept { return n_skipped_in_a_row_; }
  bool done() const noexcept { return n_done_ >= options_.schedule.steps; }
  std::int64_t n_done() const noexcept { return n_done_; }
  std::int64_t n_skipped() const noexcept { return n_skipped_; }

  /// Weights, and the moments of those that this rank owns; whoever writes into them changes model and trainer.
  std::vector<NamedTensor> state() const;
  /// The part of it that this rank writes: all ranks' parts are the whole, each tensor once.
  std::vector<NamedTensor> own_state() const;
  TrainerCounters counters() const;
  /// Throws Error(invalid_file) for those of another model.
  void set_counters(const TrainerCounters& counters);
  /// Which rank holds which expert; set before a checkpoint is read into state().
  const ExpertPlaces& places() const noexcept { return placement_.places(); }
  void set_places(const ExpertPlaces& places) { placement_.set_places(places); }

 private:
  void share_out(const Batch& batch);
  double learn(const Batch& batch, const BatchCounts& whole, StepReport& report);
  void learn_part(const Batch& part, const BatchCounts& whole, StepReport& report);
  void add_reports(StepReport& report, std::vector<double>& seconds);
  double gradient_norm();
  void move_biases(const StepReport& report);

  const Model& model_;
  const TrainerOptions options_;
  const Ranks ranks_;
  const std::shared_ptr<World> world_;         // of all ranks
  std::array<GradientExchange, 2> exchanges_;  // of what all ranks hold, and of what some do
  const std::vector<Weight> owned_;
  Optimizer optimizer_;
  ExpertPlacement placement_;
  std::optional<ShareBalance> shares_;  // since the first step
  std::vector<Tensor> biases_;          // of the layers with experts, as routing has them; undefined: none
  std::int64_t n_done_ = 0, n_skipped_ = 0;
  std::int64_t n_skipped_in_a_row_ = 0;
};

}  // namespace moebox::train

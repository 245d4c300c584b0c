// Which drafts a step verifies: guesses of the next tokens, whose logits are computed beside those of the last token
// and which are kept as far as they equal what the sampler chooses. It decides about time only: no token depends on it.
#pragma once

#include <vector>

#include "runtime/scheduler.h"

namespace moebox {

/// What a step of decodes costs by its number of tokens, learnt from the steps themselves.
class StepCost {
 public:
  void observe(int n_tokens, double ms) noexcept;
  /// Expected milliseconds; only ratios mean anything before the first observation.
  double ms(int n_tokens) const noexcept;
  /// Steps of one token that it has seen.
  int n_single() const noexcept { return n_single_; }

 private:
  double line(int n_tokens) const noexcept;

  int n_single_ = 0;
  double single_ = 0;  // a step of one token runs other code: it has a figure of its own
  // Least squares over steps of two and more tokens, the older ones weighing less.
  double weight_ = 0, x_ = 0, xx_ = 0, y_ = 0, xy_ = 0;
};

class DraftChooser {
 public:
  struct Limits {
    int max_drafts;       // of a sequence in a step
    int max_rows;         // tokens of a step whose logits are wanted
    bool always = false;  // whatever it costs: for tests and measurements
  };
  DraftChooser(Limits limits, int max_sequences);

  /// Looks for drafts of the sequences that decode in this step and gives those that pay to their spans.
  void add_drafts(Scheduler& scheduler) noexcept;
  /// A span's next tokens are chosen, from `first_token` on: of its drafts so many were compared, and so many right.
  void verified(const ScheduledSpan& span, TokenId first_token, int n_compared, int n_right) noexcept;
  /// The step that add_drafts() saw has taken so long, without the making of drafts.
  void step_took(double ms) noexcept;

  /// Where a layer makes the drafts, which takes time: how many of the sequence's next tokens are worth guessing.
  int wanted(DraftState& state) noexcept;
  /// Making drafts, at most so many of a sequence, has taken so long.
  void drafting_took(int n_drafts, double ms) noexcept;

 private:
  // What drafts cost is measured against a step without; it is taken again from time to time.
  static constexpr int least_measured = 4, most_unmeasured = 128;
  // A sequence whose drafts have been declined so often is asked again from time to time.
  static constexpr int patience = 8, rest = 24;

  struct Candidate {
    std::size_t span;
    DraftState* state;
    int n_drafts, n_best;
    double next;  // chance that one draft more is reached and right
  };
  void choose(int n_tokens, int room) noexcept;

  Limits limits_;
  StepCost cost_;
  double drafting_ms_ = 0;             // of one more draft of all sequences, where a layer makes them
  std::vector<Candidate> candidates_;  // (max_sequences)
  int n_unmeasured_ = 0;               // steps since one of a sequence alone without drafts
  int n_tokens_ = 0;                   // of the step at hand; 0: its time tells nothing of decodes
};

}  // namespace moebox

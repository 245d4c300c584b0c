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
  bool known() const noexcept { return single_ > 0 || weight_ > 0; }
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
  DraftChooser(Limits limits, int max_sequences, Speculation source = Speculation::ngram);

  /// Looks for drafts of the sequences that decode in this step and gives those that pay to their spans.
  void add_drafts(Scheduler& scheduler) noexcept;
  /// A span's next tokens are chosen, from `first_token` on: of its drafts so many were compared, and so many right.
  void verified(const ScheduledSpan& span, TokenId first_token, int n_compared, int n_right) noexcept;
  /// The step that add_drafts() saw has taken so long, without the making of drafts.
  void step_took(double ms) noexcept;

  // Where a layer or a model makes the drafts, which takes time.

  /// How many of the sequence's next tokens are worth guessing. So many of its tokens the drafter has not seen yet;
  /// decoding it, and not those beside it, has taken so long.
  int wanted(DraftState& state, int n_behind = 0, double decode_ms = 0) noexcept;
  /// Tokens with which the drafter may catch up between two steps: about as long as a step takes.
  int room_to_catch_up() const noexcept;
  /// Of the next draft, so that it is worth making for one of so many sequences that decode.
  double least_chance(int n_sequences) const noexcept;
  /// Making drafts, at most so many of a sequence, has taken so long.
  void drafting_took(int n_drafts, double ms) noexcept;
  void catching_up_took(int n_tokens, double ms) noexcept;

 private:
  // What drafts cost is measured against a step without; it is taken again from time to time.
  static constexpr int least_measured = 4, most_unmeasured = 128;
  // A sequence whose drafts have been declined so often is asked again from time to time.
  static constexpr int patience = 8, rest = 24;
  // What drafts have lost and won is kept in steps of the time that one takes without: so much of all time may be lost
  // to find out whether they pay, and so much of what they have won is at stake when they stop paying.
  static constexpr double stake_per_step = 0.015, first_stake = 2, most_stake = 8;
  static constexpr double hoped_gain = 0.25;  // before anything is known

  struct Candidate {
    std::size_t span;
    DraftState* state;
    int n_drafts, n_best;
    double next;  // chance that one draft more is reached and right
  };
  void choose(int n_tokens, int room) noexcept;
  void book(double ms) noexcept;
  double plain_ms() const noexcept;  // of the step at hand, were it without drafts

  Limits limits_;
  StepCost cost_;
  DraftRecord experience_;             // of all sequences: with it one begins whose drafts are computed
  double drafting_ms_ = 0;             // of one more draft of all sequences, where a layer or a model makes them
  double catching_up_ms_ = 0;          // of one token
  std::vector<Candidate> candidates_;  // (max_sequences)
  int n_unmeasured_ = 0;               // steps since one of a sequence alone without drafts
  int n_tokens_ = 0;                   // of the step at hand; 0: its time tells nothing of decodes
  int n_added_ = 0, n_right_ = 0;      // drafts of that step
  double drafted_ms_ = 0;              // in which that step's drafts were made
  double next_drafted_ms_ = 0;         // the next one's
  double balance_ = first_stake;       // below 0: no drafts are made
  double gain_ = hoped_gain;           // share of a step's time that drafts save, where some were made
};

}  // namespace moebox

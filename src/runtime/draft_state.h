// What one sequence knows of its drafts.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/ngram_drafter.h"
#include "runtime/speculation.h"

namespace moebox {

/// How often a draft is right, by the number of tokens before it that agreed with the place it was taken from, or by
/// the probability that stands for such a number. It begins with a guess, a cautious one where nothing else is known;
/// older experience counts less.
class DraftRecord {
 public:
  explicit DraftRecord(Speculation source) {
    if (source == Speculation::draft)
      classes_ = {{{0, 1.2, 4}, {3, 1.8, 4}, {4, 2.4, 4}, {6, 2.9, 4}, {9, 3.4, 4}, {14, 3.8, 4}}};
  }

  double chance(int match) const noexcept {
    const Class& c = classes_[index(match)];
    return c.right / c.tried;
  }
  void observe(int match, bool right) noexcept {
    constexpr double memory = 0.95;
    Class& c = classes_[index(match)];
    c.tried = c.tried * memory + 1;
    c.right = c.right * memory + (right ? 1 : 0);
  }

 private:
  struct Class {
    int from;  // tokens that agreed
    double right, tried;
  };
  std::size_t index(int match) const noexcept {
    std::size_t i = classes_.size() - 1;
    while (i > 0 && classes_[i].from > match) --i;
    return i;
  }
  std::array<Class, 6> classes_{{{0, 0.4, 4}, {3, 1.0, 4}, {4, 1.6, 4}, {6, 2.2, 4}, {9, 3.0, 4}, {14, 3.4, 4}}};
};

struct DraftState {
  /// `max_drafts` 0: there are none.
  DraftState(int max_drafts, int max_tokens, Speculation source)
      : source(source),
        drafter(max_drafts > 0 && source == Speculation::ngram ? max_tokens : 0),
        record(source),
        proposed(static_cast<std::size_t>(std::max(0, max_drafts))),
        confidence(source == Speculation::draft ? proposed.size() : 0) {}

  /// The class of the i-th draft in the record. A layer's first one is as good as a long match, each further one worse;
  /// a model's is as good as the model holds it to be.
  int match_of(int i) const noexcept {
    constexpr std::array layer_matches = {14, 9, 6, 4};
    const auto index = static_cast<std::size_t>(i);
    if (source == Speculation::mtp) return layer_matches[std::min(index, layer_matches.size() - 1)];
    if (source == Speculation::draft) return confidence[std::min(index, confidence.size() - 1)];
    return match + i;
  }

  /// The draft model's cache has been given away.
  void forget_cache() noexcept { n_cached = n_ahead = 0; }

  const Speculation source;

  NgramDrafter drafter;
  DraftRecord record;
  std::vector<TokenId> proposed;  // (max_drafts): the next tokens, perhaps
  int n_proposed = 0;             // so many of them
  int match = 0;                  // tokens that agreed, where they were looked up
  int n_drafted = 0;              // of the last proposal
  int n_declined = 0;             // steps in a row whose proposals were not worth verifying
  bool is_known = false;          // to a chooser, which gave it the experience of others

  // ModelDrafter's.
  std::vector<int> confidence;  // (max_drafts): classes in the record
  int n_cached = 0;             // the sequence's first tokens that the draft model has in its cache
  int n_ahead = 0;              // behind these it has so many of the last proposal
};

}  // namespace moebox

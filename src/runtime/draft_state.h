// What one sequence knows of its drafts.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/ngram_drafter.h"

namespace moebox {

/// How often a draft is right, by the number of tokens before it that agreed with the place it was taken from. It
/// begins with a cautious guess; older experience counts less.
class DraftRecord {
 public:
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
  /// `max_drafts` 0: there are none. `by_layer`: LayerDrafter makes them.
  DraftState(int max_drafts, int max_tokens, bool by_layer)
      : by_layer(by_layer),
        drafter(max_drafts > 0 && !by_layer ? max_tokens : 0),
        proposed(static_cast<std::size_t>(std::max(0, max_drafts))) {}

  /// The class of the i-th draft in the record. A layer's first one is as good as a long match, each further one worse.
  int match_of(int i) const noexcept {
    constexpr std::array layer_matches = {14, 9, 6, 4};
    return by_layer ? layer_matches[std::min(static_cast<std::size_t>(i), layer_matches.size() - 1)] : match + i;
  }

  const bool by_layer;

  NgramDrafter drafter;
  DraftRecord record;
  std::vector<TokenId> proposed;  // (max_drafts): the next tokens, perhaps
  int n_proposed = 0;             // so many of them
  int match = 0;                  // tokens that agreed, of those that are not a layer's
  int n_drafted = 0;              // of the last proposal
  int n_declined = 0;             // steps in a row whose proposals were not worth verifying
};

}  // namespace moebox

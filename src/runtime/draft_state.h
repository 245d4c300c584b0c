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
  /// `max_drafts` 0: there are none.
  DraftState(int max_drafts, int max_tokens)
      : drafter(max_drafts > 0 ? max_tokens : 0), proposed(static_cast<std::size_t>(std::max(0, max_drafts))) {}

  NgramDrafter drafter;
  DraftRecord record;
  std::vector<TokenId> proposed;  // (max_drafts): the next tokens, perhaps
  int match = 0;                  // tokens that agreed; 0: nothing is proposed
};

}  // namespace moebox

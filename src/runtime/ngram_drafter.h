// Guesses how a sequence goes on from what it has said already: prompt look-up. No model, no text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"

namespace moebox {

/// An index of one sequence that grows at its end: where its last tokens have stood before.
class NgramDrafter {
 public:
  /// Takes all memory for sequences of `max_tokens`; 0: proposes nothing and takes none.
  explicit NgramDrafter(int max_tokens);

  /// Finds the earlier place that agrees with the end of `tokens` over the most tokens, the latest of several, and
  /// writes what followed it to `out`, on and on where that runs into the end itself. `tokens` are those of the last
  /// call and any number behind them. Allocates nothing. The number of tokens that agree, or 0: no proposal.
  int propose(std::span<const TokenId> tokens, std::span<TokenId> out) noexcept;

 private:
  std::size_t bucket(TokenId before, TokenId last) const noexcept;

  // A chain a bucket, latest first, of positions whose token and the one before it share the bucket; -1 ends it.
  std::vector<std::int32_t> heads_;
  std::vector<std::int32_t> earlier_;  // (max_tokens)
  int n_indexed_ = 1;                  // positions that are in chains; the first one has no token before it
};

}  // namespace moebox

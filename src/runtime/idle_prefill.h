// Answers that wait to be computed once more, as the prompt they will come back as. Models with latent attention
// compute prompts and answers by different forms (docs/determinism.md): what the cache holds of an answer is of no use
// to the next turn of a conversation. While nothing else is to be done, that is made up for. It chooses; the engine
// computes.
#pragma once

#include <limits>

#include "runtime/sequence.h"

namespace moebox {

class IdlePrefill {
 public:
  /// `max_batch_tokens` of a step. Not `wanted`: it takes nothing.
  IdlePrefill(bool wanted, int max_batch_tokens) noexcept : wanted_(wanted), most_tokens_(max_batch_tokens) {}

  /// Takes over a sequence that has ended well and has no blocks any more; destroys it where nothing is gained. The
  /// newest one is the likeliest to be gone on with: the oldest makes room.
  void add(SequenceList&& ended) noexcept;
  bool empty() const noexcept { return waiting_.empty(); }
  /// All its tokens are prompt now. Not while empty.
  Sequence& newest() noexcept { return waiting_.front(); }
  void drop_newest() noexcept { waiting_.pop_front(); }

  /// Of the newest one, which alone may hold some while requests have nothing to do.
  int n_blocks() const noexcept { return empty() ? 0 : static_cast<int>(waiting_.front().blocks.size()); }

  /// Tokens of the next piece, at most: a request that arrives waits for no more than a piece.
  int piece_tokens() const noexcept { return piece_tokens_; }
  void piece_took(int n_tokens, double ms) noexcept;

 private:
  static constexpr std::size_t most_waiting = 16;
  static constexpr double piece_ms = 30;
  static constexpr double piece_steps = 2;  // of one token each, where these take longer than that

  const bool wanted_;
  const int most_tokens_;
  int piece_tokens_ = 1;  // until it is known what one takes
  double shortest_ms_ = std::numeric_limits<double>::max();
  SequenceList waiting_;  // newest first
};

}  // namespace moebox

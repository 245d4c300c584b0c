#include "runtime/idle_prefill.h"

#include <algorithm>

namespace moebox {

void IdlePrefill::add(SequenceList&& ended) noexcept {
  SequenceList taken;  // destroyed with what is in it, unless it waits
  taken.splice(taken.end(), ended);
  Sequence& sequence = taken.front();
  if (!wanted_ || !sequence.share_prefix) return;
  const int n_prompt_blocks = sequence.n_prompt / kv_block_tokens;
  sequence.become_prompt();
  if (sequence.n_prompt / kv_block_tokens == n_prompt_blocks) return;  // only full blocks can be shared
  waiting_.splice(waiting_.begin(), taken);
  if (waiting_.size() > most_waiting) waiting_.pop_back();
}

void IdlePrefill::piece_took(int n_tokens, double ms) noexcept {
  shortest_ms_ = std::min(shortest_ms_, ms);
  const double allowed_ms = std::max(piece_ms, piece_steps * shortest_ms_);
  if (ms <= allowed_ms && 2 * n_tokens < piece_tokens_) return;  // a rest says little of a whole one
  const double fitting = n_tokens * allowed_ms / std::max(ms, 1e-3);
  const int most = std::min(most_tokens_, 2 * piece_tokens_);
  piece_tokens_ = std::max(1, static_cast<int>(std::min<double>(fitting, most)));
}

}  // namespace moebox

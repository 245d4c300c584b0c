#include "runtime/layer_drafter.h"

#include <algorithm>

namespace moebox {

LayerDrafter::LayerDrafter(const Model& model, const EngineOptions& options)
    : model_(model), kernels_(kernel_table()), max_tokens_(static_cast<std::size_t>(options.max_batch_tokens)) {
  tokens_.reserve(max_tokens_);
  sources_.reserve(max_tokens_);
  const auto n_sequences = static_cast<std::size_t>(options.max_sequences);
  spans_.reserve(n_sequences + 1);
  logit_rows_.reserve(n_sequences);
  guesses_.reserve(n_sequences);
}

void LayerDrafter::clear() noexcept {
  tokens_.clear();
  spans_.clear();
  sources_.clear();
  logit_rows_.clear();
}

/// Sources are the caller's to add.
void LayerDrafter::add(const Sequence& sequence, int first_position, std::span<const TokenId> tokens,
                       Role role) noexcept {
  spans_.push_back({static_cast<int>(tokens_.size()), static_cast<int>(tokens.size()), first_position, sequence.blocks,
                    role, sequence.budget});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void LayerDrafter::flush(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv) noexcept {
  if (!tokens_.empty()) model_.draft(team, workspace, kv, {{tokens_, spans_, {}, nullptr}, sources_});
  clear();
}

/// The pairs of what was computed, up to position `last`. A block's first one is made in any case: its row before is in
/// the cache, and whoever computed the block before may have known no further token.
void LayerDrafter::fill(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const ComputedSpan& computed,
                        int last) noexcept {
  const Sequence& sequence = *computed.sequence;
  const int begin = sequence.n_computed;
  for (int first = begin % kv_block_tokens == 0 ? std::max(begin, 1) : begin + 1; first <= last;) {
    if (tokens_.size() == max_tokens_ || spans_.size() == spans_.capacity()) flush(team, workspace, kv);
    const auto n = std::min(static_cast<std::size_t>(last - first + 1), max_tokens_ - tokens_.size());
    add(sequence, first, std::span(sequence.tokens).subspan(static_cast<std::size_t>(first), n), Role::prompt);
    for (const int end = first + static_cast<int>(n); first < end; ++first)
      sources_.push_back(first > begin ? computed.first_row + first - begin - 1 : DraftBatch::of_block);
  }
}

void LayerDrafter::run(ThreadTeam& team, Workspace& workspace, Scheduler& scheduler, const KvBlocks& kv,
                       std::span<const ComputedSpan> computed, float* logits) noexcept {
  clear();
  guesses_.clear();
  // The last pair of a sequence that wants drafts is made with them.
  const auto drafts = [&](const ComputedSpan& one) {
    return one.n_wanted > 0 && one.sequence->pending() == one.n_tokens + 1 && scheduler.cover_next(*one.sequence);
  };
  const auto last_position = [](const ComputedSpan& one) { return one.sequence->n_computed + one.n_tokens; };
  for (const ComputedSpan& one : computed) {
    Sequence& sequence = *one.sequence;
    sequence.drafts.n_proposed = 0;
    const bool with_drafts = drafts(one);
    if (with_drafts) guesses_.push_back({&sequence, one.n_wanted});
    const auto n_known = static_cast<int>(std::min(sequence.tokens.size(), sequence.blocks.size() * kv_block_tokens));
    fill(team, workspace, kv, one, std::min(last_position(one) - (with_drafts ? 1 : 0), n_known - 1));
  }
  flush(team, workspace, kv);
  for (const ComputedSpan& one : computed) {
    if (guesses_.size() == logit_rows_.size() || guesses_[logit_rows_.size()].sequence != one.sequence) continue;
    add(*one.sequence, last_position(one), {&one.sequence->tokens.back(), 1}, Role::generated);
    sources_.push_back(one.first_row + one.n_tokens - 1);
    logit_rows_.push_back(static_cast<int>(logit_rows_.size()));
  }
  for (int depth = 1; !tokens_.empty(); ++depth) {
    guess(team, workspace, kv, logits);
    prepare_next_guesses(depth);
  }
}

/// One token more for each of the guesses.
void LayerDrafter::guess(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, float* logits) noexcept {
  model_.draft(team, workspace, kv, {{tokens_, spans_, logit_rows_, logits}, sources_});
  const int vocab = model_.info().vocab_size;
  team.run([&](const TeamMember& member) {
    const auto part = member.part(static_cast<int>(guesses_.size()));
    for (int i = part.first; i < part.last; ++i) {
      DraftState& state = guesses_[static_cast<std::size_t>(i)].sequence->drafts;
      state.proposed[static_cast<std::size_t>(state.n_proposed++)] =
          kernels_.argmax(logits + static_cast<std::ptrdiff_t>(i) * vocab, vocab);
    }
  });
}

/// The pairs of what the layer has said and what it has guessed, where more is wanted and has a place in the cache.
void LayerDrafter::prepare_next_guesses(int depth) noexcept {
  clear();
  std::size_t n = 0;
  for (std::size_t i = 0; i < guesses_.size(); ++i) {
    const Guess guess = guesses_[i];
    const Sequence& sequence = *guess.sequence;
    const int position = static_cast<int>(sequence.tokens.size()) - 1 + depth;
    if (depth >= guess.n_wanted || static_cast<std::size_t>(position) >= sequence.blocks.size() * kv_block_tokens)
      continue;
    add(sequence, position, {&sequence.drafts.proposed[static_cast<std::size_t>(depth - 1)], 1}, Role::generated);
    sources_.push_back(DraftBatch::after_draft - static_cast<int>(i));
    logit_rows_.push_back(static_cast<int>(n));
    guesses_[n++] = guess;
  }
  guesses_.resize(n, Guess{});
}

}  // namespace moebox

#include "runtime/model_drafter.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"

namespace moebox {
namespace {

/// A sequence's last token and the one before it, or a whole block of one that is behind.
int batch_tokens_of(const EngineOptions& options) {
  return std::max({options.max_batch_tokens, 2 * options.max_sequences, kv_block_tokens});
}

int positions_of(const ModelInfo& model, const EngineOptions& options) {
  return std::min(model.max_context, options.context_tokens);
}

std::size_t logits_bytes(const ModelInfo& model, const EngineOptions& options) {
  return checked_mul(static_cast<std::size_t>(options.max_sequences) * sizeof(float),
                     static_cast<std::size_t>(model.vocab_size), "logits");
}

/// The class in DraftRecord of a draft that its model holds to be right with this probability.
int confidence_class(float probability) noexcept {
  struct Step {
    float from;
    int match;
  };
  for (const Step step : {Step{0.92f, 14}, {0.8f, 9}, {0.65f, 6}, {0.5f, 4}, {0.3f, 3}})
    if (probability >= step.from) return step.match;
  return 0;
}

}  // namespace

ModelDrafter::ModelDrafter(const Model& model, const BlockPool& pool, const EngineOptions& options, int vocab_size)
    : model_(model),
      pool_(pool),
      kernels_(kernel_table()),
      n_positions_(positions_of(model.info(), options)),
      n_common_tokens_(std::min(model.info().vocab_size, vocab_size)),
      batch_tokens_(static_cast<std::size_t>(batch_tokens_of(options))),
      cache_(checked_mul(model.info().kv_block_bytes(), static_cast<std::size_t>(pool.total()), "KV cache"),
             "KV cache of the draft model", false),
      logits_(logits_bytes(model.info(), options), "logits of the draft model", false),
      kv_{cache_.data(), pool.total(), model.info().kv.block_bytes()},
      complete_(static_cast<std::size_t>(pool.total())) {
  workspace_ = model.make_workspace(batch_tokens_of(options), options.max_sequences, n_positions_, options.n_threads);
  tokens_.reserve(batch_tokens_);
  const auto n_sequences = static_cast<std::size_t>(options.max_sequences);
  spans_.reserve(n_sequences);
  logit_rows_.reserve(n_sequences);
  guesses_.reserve(n_sequences);
}

std::size_t ModelDrafter::step_bytes(const Model& model, const EngineOptions& options) {
  const auto workspace = model.make_workspace(batch_tokens_of(options), options.max_sequences,
                                              positions_of(model.info(), options), options.n_threads);
  return workspace->size() + logits_bytes(model.info(), options);
}

void ModelDrafter::clear() noexcept {
  tokens_.clear();
  spans_.clear();
  logit_rows_.clear();
}

void ModelDrafter::add(const Sequence& sequence, int first_position, std::span<const TokenId> tokens,
                       Role role) noexcept {
  spans_.push_back({static_cast<int>(tokens_.size()), static_cast<int>(tokens.size()), first_position, sequence.blocks,
                    role, RoutingBudget{}});
  for (const TokenId id : tokens) tokens_.push_back(id < n_common_tokens_ ? id : 0);
}

bool ModelDrafter::is_complete(int block) const noexcept {
  return complete_[static_cast<std::size_t>(block)] == pool_.generation(block);
}

/// The sequence's first `n_tokens` are in the cache. Full blocks are so for all who share them: when another sequence
/// is added to the same batch already, since a layer stores all keys and values before any is read.
void ModelDrafter::now_cached(Sequence& sequence, int n_tokens) noexcept {
  DraftState& state = sequence.drafts;
  for (int block = state.n_cached / kv_block_tokens; (block + 1) * kv_block_tokens <= n_tokens; ++block) {
    const int number = sequence.blocks[static_cast<std::size_t>(block)];
    complete_[static_cast<std::size_t>(number)] = pool_.generation(number);
  }
  state.n_cached = n_tokens;
}

int ModelDrafter::n_behind(Sequence& sequence) noexcept {
  DraftState& state = sequence.drafts;
  const int last = static_cast<int>(sequence.tokens.size()) - 1;
  // Of the last proposal what became tokens; the rest is written over.
  int n = std::min(state.n_cached, last);
  for (int i = 0; i < state.n_ahead && n < last; ++i, ++n)
    if (sequence.tokens[static_cast<std::size_t>(n)] != state.proposed[static_cast<std::size_t>(i)]) break;
  state.n_ahead = 0;
  now_cached(sequence, n);
  // What other sequences have computed of shared blocks, or this one before it was preempted.
  for (auto block = static_cast<std::size_t>(n / kv_block_tokens);
       block < sequence.blocks.size() && is_complete(sequence.blocks[block]); ++block)
    state.n_cached = std::min(static_cast<int>(block + 1) * kv_block_tokens, last);
  return last - state.n_cached;
}

ModelDrafter::Work ModelDrafter::run(ThreadTeam& team, Scheduler& scheduler, std::span<const ComputedSpan> computed,
                                     int most_filled, double least_chance) noexcept {
  Work work;
  clear();
  guesses_.clear();
  const auto ms_since = [](Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  };
  const auto filling = Clock::now();
  int room = most_filled;
  for (const ComputedSpan& one : computed) {
    Sequence& sequence = *one.sequence;
    sequence.drafts.n_proposed = 0;
    if (one.n_wanted == 0 || static_cast<int>(sequence.tokens.size()) > n_positions_) continue;
    // Two tokens go together in the first draft's forward: as many as there are when a whole draft was right.
    if (n_behind(sequence) > 1) catch_up(team, sequence, room);
    if (n_behind(sequence) > 1 || !scheduler.cover_next(sequence, one.n_wanted - 1)) continue;
    guesses_.push_back({&sequence, one.n_wanted, 1});
  }
  flush(team);
  if (room < most_filled) work = {most_filled - room, 0, ms_since(filling), 0};
  const auto drafting = Clock::now();
  for (const Guess& guess : guesses_) {
    Sequence& sequence = *guess.sequence;
    const auto first = static_cast<std::size_t>(sequence.drafts.n_cached);
    add(sequence, sequence.drafts.n_cached, std::span(sequence.tokens).subspan(first), Role::generated);
    logit_rows_.push_back(static_cast<int>(tokens_.size()) - 1);
    now_cached(sequence, static_cast<int>(sequence.tokens.size()));
  }
  for (; !guesses_.empty(); prepare_next_guesses(++work.depth, least_chance)) guess(team);
  work.drafting_ms = work.depth > 0 ? ms_since(drafting) : 0;
  return work;
}

/// As far as there is room, up to the last token. Pieces end with a block, so that nobody has to write into what
/// another sequence is writing.
void ModelDrafter::catch_up(ThreadTeam& team, Sequence& sequence, int& room) noexcept {
  const int last = static_cast<int>(sequence.tokens.size()) - 1;
  while (sequence.drafts.n_cached < last && room > 0) {
    const int first = sequence.drafts.n_cached;
    const int most = std::min(std::max(room, kv_block_tokens), static_cast<int>(batch_tokens_ - tokens_.size()));
    const int end = last - first <= most ? last : (first + most) / kv_block_tokens * kv_block_tokens;
    if (end <= first || spans_.size() == spans_.capacity()) {
      flush(team);
      continue;
    }
    const auto piece = std::span(sequence.tokens).subspan(static_cast<std::size_t>(first));
    add(sequence, first, piece.first(static_cast<std::size_t>(end - first)), Role::prompt);
    now_cached(sequence, end);
    room -= end - first;
  }
}

void ModelDrafter::flush(ThreadTeam& team) noexcept {
  if (!tokens_.empty()) forward(team);
  clear();
}

void ModelDrafter::forward(ThreadTeam& team) noexcept {
  model_.forward(team, *workspace_, kv_, {tokens_, spans_, logit_rows_, reinterpret_cast<float*>(logits_.data())});
}

/// One token more for each of the guesses.
void ModelDrafter::guess(ThreadTeam& team) noexcept {
  forward(team);
  const int vocab = model_.info().vocab_size;
  team.run([&](const TeamMember& member) {
    const auto part = member.part(static_cast<int>(guesses_.size()));
    for (int i = part.first; i < part.last; ++i) {
      const float* row = reinterpret_cast<const float*>(logits_.data()) + static_cast<std::ptrdiff_t>(i) * vocab;
      DraftState& state = guesses_[static_cast<std::size_t>(i)].sequence->drafts;
      const auto n = static_cast<std::size_t>(state.n_proposed++);
      const int likeliest = kernels_.argmax(row, n_common_tokens_);
      state.proposed[n] = likeliest;
      state.confidence[n] = confidence_class(std::exp(row[likeliest] - kernels_.log_sum_exp(row, n_common_tokens_)));
    }
  });
}

/// What was guessed goes in where more is wanted, likely enough, and has a place in the cache.
void ModelDrafter::prepare_next_guesses(int depth, double least_chance) noexcept {
  clear();
  std::size_t n = 0;
  for (Guess guess : guesses_) {
    const Sequence& sequence = *guess.sequence;
    DraftState& state = guess.sequence->drafts;
    const int position = static_cast<int>(sequence.tokens.size()) - 1 + depth;
    guess.chance *= state.record.chance(state.match_of(depth - 1));
    if (depth >= guess.n_wanted || guess.chance < least_chance || position >= n_positions_ ||
        static_cast<std::size_t>(position) >= sequence.blocks.size() * kv_block_tokens)
      continue;
    logit_rows_.push_back(static_cast<int>(tokens_.size()));
    add(sequence, position, {&state.proposed[static_cast<std::size_t>(depth - 1)], 1}, Role::generated);
    state.n_ahead = depth;
    guesses_[n++] = guess;
  }
  guesses_.resize(n, Guess{});
}

}  // namespace moebox

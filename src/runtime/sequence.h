// One request while it is in the engine.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/block_pool.h"
#include "runtime/block_store.h"
#include "runtime/draft_state.h"
#include "runtime/request.h"
#include "runtime/sampler.h"

namespace moebox {

using Clock = std::chrono::steady_clock;

/// What a sequence's blocks are called in a BlockStore.
struct StoredChain {
  std::vector<BlockName> names;  // of block i at i + 1, as far as they are known; none: it does not take part
  int n_stored = 0;              // first blocks of the prompt that were stored when it was submitted
  bool tried = false;            // to read them
};

struct Sequence {
  /// Takes all memory that the sequence will need: the engine's thread allocates nothing.
  Sequence(GenerationRequest&& asked, std::shared_ptr<GenerationSink> receiver, int max_tokens, int max_drafts = 0,
           Speculation drafts_by = Speculation::ngram)
      : tokens(std::move(asked.prompt)),
        n_prompt(static_cast<int>(tokens.size())),
        max_tokens(max_tokens),
        stop_tokens(std::move(asked.stop_tokens)),
        budget(asked.budget),
        share_prefix(asked.share_prefix),
        prefix_scope(asked.prefix_scope),
        prefix_owner(std::move(asked.prefix_owner)),
        sampler(std::move(asked.sampling), std::move(asked.processors), asked.choice, tokens, max_tokens - n_prompt),
        sink(std::move(receiver)),
        drafts(max_drafts, max_tokens, drafts_by) {
    stats.prompt_tokens = n_prompt;
    tokens.reserve(static_cast<std::size_t>(max_tokens));
    blocks.reserve(static_cast<std::size_t>(BlockPool::needed(max_tokens)));
  }

  /// The answer, and the token that ended it, are taken for prompt from now on; nobody asks for more tokens. It has no
  /// blocks: what was computed of the answer is something else (docs/determinism.md).
  void become_prompt() noexcept {
    if (ended_by >= 0 && static_cast<int>(tokens.size()) < max_tokens) tokens.push_back(ended_by);
    n_prompt = static_cast<int>(tokens.size());
    n_routed = n_prompt;  // its experts have been counted
    n_computed = n_published = 0;
    published_identity = 0;
    sink.reset();
    sampler.forget_processors();
  }

  /// Tokens whose keys and values are not in the cache yet. One: it decodes; more: it is (again) in its prefill.
  int pending() const noexcept { return static_cast<int>(tokens.size()) - n_computed; }

  /// Of full block number `block`: how many of its tokens have the role prompt.
  int prompt_tokens_in(int block) const noexcept {
    return std::clamp(n_prompt - block * kv_block_tokens, 0, kv_block_tokens);
  }

  std::uint64_t id = 0;         // given by the engine when it takes the request in
  std::vector<TokenId> tokens;  // prompt and answer
  int n_prompt;
  const int max_tokens;  // prompt and answer together
  const std::vector<TokenId> stop_tokens;
  const RoutingBudget budget;
  const bool share_prefix;
  const std::uint64_t prefix_scope;
  const std::string prefix_owner;
  Sampler sampler;
  std::shared_ptr<GenerationSink> sink;
  DraftState drafts;
  std::atomic<bool> cancelled{false};  // set by other threads

  TokenId ended_by = -1;                 // the stop token that ended the answer
  int n_routed = 0;                      // tokens whose experts have been counted
  int n_computed = 0;                    // tokens whose keys and values are in `blocks`
  std::vector<int> blocks;               // of the KV cache
  int n_published = 0;                   // of these, full ones whose content is known to others
  std::uint64_t published_identity = 0;  // of the last of them
  StoredChain stored;

  GenerationStats stats;
  Clock::time_point submitted = Clock::now();
  Clock::time_point started{}, first_token{};
};

/// Sequences that move from list to list in one piece: nothing is allocated but by who makes them.
using SequenceList = std::list<Sequence>;

}  // namespace moebox

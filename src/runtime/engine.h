// Continuous batching over one model: submit a sequence at any time, it joins at the next step.
// The loop is three lines: schedule, run, commit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/expert_load.h"
#include "runtime/prefix_store.h"
#include "runtime/request.h"
#include "runtime/speculation.h"

namespace moebox {

struct EngineOptions {
  int n_threads = 0;           // 0: the processors this process may use
  int context_tokens = 0;      // the longest sequence; 0: the model's own, at most 32768 and what kv_bytes holds
  std::size_t kv_bytes = 0;    // memory of the KV cache; 0: for 65536 tokens, or for one context where that is longer,
                               // but at most a quarter of the memory that is free; yet for a context that was asked for
  int max_batch_tokens = 0;    // tokens of one step: a longer prompt is prefilled in chunks; 0: what suits the model
  int max_sequences = 64;      // sequences that run at once
  int max_queued = 256;        // sequences that wait; one more is refused
  double decode_slowdown = 2;  // a prompt that arrives may make running answers so many times as slow; 0: it may
                               // take all that a step holds
  bool share_prefixes = true;  // what the cache still holds of a prompt's beginning is not computed again
  Speculation speculation = Speculation::off;
  int draft_tokens = 10;                // of a sequence in a step, at most
  bool always_draft = false;            // also when it does not pay: for tests and measurements
  std::shared_ptr<BlockStore> store{};  // where such beginnings outlive the process; nullptr: nowhere
  std::string model_identity{};         // what the store takes for the model: its files, not their names

  /// With every 0 replaced by what holds. A context that was asked for is kept or refused, never shortened in silence.
  /// `draft_model`: the second model of Speculation::draft, whose cache is part of kv_bytes; nullptr: none.
  /// Throws Error: invalid_argument for what is out of range, resource when the cache cannot hold the context.
  EngineOptions resolved(const ModelInfo& model, int n_threads, const ModelInfo* draft_model = nullptr) const;
  /// Of resolved options: bytes of a step's buffers, beside weights and cache; resident as far as batches fill them.
  std::size_t step_bytes(const Model& model, const Model* draft_model = nullptr) const;
  /// One block of the cache: all layers, those of a draft model (or nullptr) included.
  static std::size_t block_bytes(const ModelInfo& model, const ModelInfo* draft_model) noexcept;
  /// Drafts of a sequence in a step.
  int max_drafts() const noexcept {
    return speculation == Speculation::off   ? 0
           : speculation == Speculation::mtp ? std::min(draft_tokens, max_mtp_draft_tokens)
                                             : draft_tokens;
  }
  /// Tokens of a step whose logits may be wanted: one of each sequence, or one and its drafts.
  int max_logit_rows() const noexcept { return std::max(max_sequences, 1 + max_drafts()); }
};

using RequestId = std::uint64_t;

struct EngineStats {
  int running = 0, waiting = 0;
  int kv_blocks_total = 0, kv_blocks_used = 0;
  int kv_blocks_idle = 0;                                    // unused ones whose content can be shared
  std::uint64_t prefix_tokens = 0, prefix_tokens_found = 0;  // of prompts: looked up in the cache, and found there
  std::uint64_t idle_prompt_tokens = 0;  // of answers: computed again as prompt while nothing else was to be done
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;  // since start
  std::uint64_t drafts = 0, draft_tokens = 0;             // runs of guessed tokens that were verified, and their tokens
  std::uint64_t accepted_tokens = 0;                      // of these, what became part of answers, or ended them
  std::uint64_t preemptions = 0, finished = 0, cancelled = 0, failed = 0, steps = 0;
  TeamTimes team;                       // of the threads that compute
  PrefixStoreStats store;               // of an engine with a store
  ExpertCacheStats expert_cache;        // of a model whose experts are not all in memory
  std::vector<ExpertLoad> expert_load;  // (moe.n_layers), since start; tokens that are computed again count once
};

class Engine {
 public:
  /// Starts the engine's thread. `draft_model`: for Speculation::draft, and for nothing else; it means the same by
  /// every token id. Throws Error(resource) when the cache does not fit.
  Engine(std::unique_ptr<const Model> model, std::unique_ptr<ThreadTeam> team, EngineOptions options,
         std::unique_ptr<const Model> draft_model = nullptr);
  /// Cancels what runs and waits for the thread.
  ~Engine();

  const ModelInfo& model() const noexcept;
  const EngineOptions& options() const noexcept;  // with every 0 replaced by what holds
  /// Bytes of the KV cache, a draft model's included.
  std::size_t kv_bytes() const noexcept;

  /// Throws Error: invalid_argument for a request that can never run (a token id out of range, a prompt longer than the
  /// context), resource when the queue is full, cancelled after shutdown. Thread safe.
  RequestId submit(GenerationRequest request, std::shared_ptr<GenerationSink> sink);
  /// The sequence ends at the next step boundary with FinishReason::cancelled; unknown ids are ignored. Thread safe.
  void cancel(RequestId id) noexcept;
  EngineStats stats() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox

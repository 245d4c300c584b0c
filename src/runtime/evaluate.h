// Logits of given tokens: for perplexity, comparisons and tests. No sampling, no queue.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/model.h"
#include "runtime/block_pool.h"
#include "runtime/request.h"

namespace moebox {

/// Receives the logits of consecutive positions, rows of vocab_size, from first_position on.
using LogitsCallback = std::function<void(int first_position, std::span<const float> rows)>;

/// Runs sequences one after another through a model, `chunk` tokens at a time. Keeps its memory between runs.
class Evaluator {
 public:
  Evaluator(const Model& model, ThreadTeam& team, int max_tokens, int chunk);

  /// Tokens from `n_prompt` on have the role "generated" (-1: all are prompt). Throws Error(invalid_argument) for ids
  /// outside the vocabulary and for more than max_tokens tokens, Error(io) when weights cannot be read.
  void run(std::span<const TokenId> tokens, const LogitsCallback& callback, int n_prompt = -1);

  /// On the experts of all runs from now on. Throws Error(invalid_argument), also for a dense model.
  void set_budget(const RoutingBudget& budget);
  /// What the gates have chosen since then.
  const MoeUsage& usage() const noexcept { return usage_; }

 private:
  void count_experts(int n_tokens) noexcept;

  const Model& model_;
  ThreadTeam& team_;
  int max_tokens_, chunk_;
  BlockPool pool_;
  std::vector<int> blocks_;
  std::unique_ptr<Workspace> workspace_;
  AnonymousMemory logits_;  // (chunk, vocab_size)
  RoutingBudget budget_;
  MoeUsage usage_;
  std::vector<std::int32_t> experts_;  // (moe.n_layers, chunk, moe.top_k)
  std::vector<float> dropped_;         // (moe.n_layers, chunk)
};

/// One run of an Evaluator of its own.
void evaluate(const Model& model, ThreadTeam& team, std::span<const TokenId> tokens, int chunk,
              const LogitsCallback& callback);

}  // namespace moebox

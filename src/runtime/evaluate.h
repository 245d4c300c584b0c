// Logits of given tokens: for perplexity, comparisons and tests. No sampling, no queue.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "models/model.h"
#include "runtime/block_pool.h"

namespace moebox {

/// Receives the logits of consecutive positions, rows of vocab_size, from first_position on.
using LogitsCallback = std::function<void(int first_position, std::span<const float> rows)>;

/// Runs sequences one after another through a model, `chunk` tokens at a time. Keeps its memory between runs.
class Evaluator {
 public:
  Evaluator(const Model& model, ThreadTeam& team, int max_tokens, int chunk);

  /// Tokens from `n_prompt` on have the role "generated" (-1: all are prompt). Throws Error(invalid_argument) for ids
  /// outside the vocabulary and for more than max_tokens tokens.
  void run(std::span<const TokenId> tokens, const LogitsCallback& callback, int n_prompt = -1);

 private:
  const Model& model_;
  ThreadTeam& team_;
  int max_tokens_, chunk_;
  BlockPool pool_;
  std::vector<int> blocks_;
  std::unique_ptr<Workspace> workspace_;
  AnonymousMemory logits_;  // (chunk, vocab_size)
};

/// One run of an Evaluator of its own.
void evaluate(const Model& model, ThreadTeam& team, std::span<const TokenId> tokens, int chunk,
              const LogitsCallback& callback);

}  // namespace moebox

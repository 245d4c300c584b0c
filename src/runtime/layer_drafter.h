// Drafts by the model's own layer for multi-token prediction (docs/speculation.md): keeps that layer's part of the
// cache complete, and proposes the next tokens. It decides about no token.
#pragma once

#include <span>
#include <vector>

#include "runtime/engine.h"
#include "runtime/scheduler.h"

namespace moebox {

class LayerDrafter {
 public:
  /// `model` has a draft layer; `options` are resolved.
  LayerDrafter(const Model& model, const EngineOptions& options);

  /// Between a forward and the next one, in the same workspace: fills the layer's part of the cache as far as tokens
  /// are known, and writes the wanted drafts to Sequence::drafts. `logits` (max_logit_rows, vocab_size) is scratch.
  /// Allocates nothing.
  void run(ThreadTeam& team, Workspace& workspace, Scheduler& scheduler, const KvBlocks& kv,
           std::span<const ComputedSpan> computed, float* logits) noexcept;

 private:
  struct Guess {
    Sequence* sequence;
    int n_wanted;
  };
  void clear() noexcept;
  void add(const Sequence& sequence, int first_position, std::span<const TokenId> tokens, Role role) noexcept;
  void fill(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const ComputedSpan& computed,
            int last) noexcept;
  void flush(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv) noexcept;
  void guess(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, float* logits) noexcept;
  void prepare_next_guesses(int depth) noexcept;

  const Model& model_;
  const KernelTable& kernels_;
  const std::size_t max_tokens_;  // of a batch
  std::vector<TokenId> tokens_;
  std::vector<BatchSpan> spans_;
  std::vector<int> sources_, logit_rows_;
  std::vector<Guess> guesses_;  // one of each of the batch's tokens, while drafts are made
};

}  // namespace moebox

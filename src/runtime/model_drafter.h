// Drafts by a second, smaller model of the same vocabulary (docs/speculation.md): it has a cache of its own, whose
// blocks have the numbers of the model's, and proposes the next tokens greedily. It decides about no token.
#pragma once

#include <span>
#include <vector>

#include "base/anonymous_memory.h"
#include "runtime/draft_chooser.h"
#include "runtime/engine.h"
#include "runtime/scheduler.h"

namespace moebox {

class ModelDrafter {
 public:
  /// `model` drafts. `pool` is that of the model whose tokens are guessed, and so is `vocab_size`: ids that only one of
  /// the two has stand for nothing. `options` are resolved. Throws Error(resource) when the system refuses the memory.
  ModelDrafter(const Model& model, const BlockPool& pool, const EngineOptions& options, int vocab_size);

  std::size_t cache_bytes() const noexcept { return cache_.size(); }
  /// Of resolved options: bytes of its buffers.
  static std::size_t step_bytes(const Model& model, const EngineOptions& options);

  /// Tokens before the sequence's last one that it has not seen: it catches up with them before it drafts.
  int n_behind(Sequence& sequence) noexcept;

  struct Work {
    int n_filled = 0, depth = 0;  // tokens that it caught up with; the longest draft
    double filling_ms = 0, drafting_ms = 0;
  };
  /// Between two steps: writes the wanted drafts to Sequence::drafts. Where a sequence is behind, it first catches up
  /// with about `most_filled` tokens of all sequences together, and drafts when it is done with that. A draft that is
  /// less likely than `least_chance` to be reached and right is not made. Allocates nothing.
  Work run(ThreadTeam& team, Scheduler& scheduler, std::span<const ComputedSpan> computed, int most_filled,
           double least_chance) noexcept;

 private:
  struct Guess {
    Sequence* sequence;
    int n_wanted;
    double chance;  // that all drafts so far are right
  };
  void clear() noexcept;
  void add(const Sequence& sequence, int first_position, std::span<const TokenId> tokens, Role role) noexcept;
  void catch_up(ThreadTeam& team, Sequence& sequence, int& room) noexcept;
  void flush(ThreadTeam& team) noexcept;
  void forward(ThreadTeam& team) noexcept;
  void guess(ThreadTeam& team) noexcept;
  void prepare_next_guesses(int depth, double least_chance) noexcept;
  void now_cached(Sequence& sequence, int n_tokens) noexcept;
  bool is_complete(int block) const noexcept;

  const Model& model_;
  const BlockPool& pool_;
  const KernelTable& kernels_;
  const int n_positions_;      // of a sequence, at most
  const int n_common_tokens_;  // ids that both models have
  const std::size_t batch_tokens_;
  AnonymousMemory cache_, logits_;  // (max_sequences, vocab_size)
  KvBlocks kv_;
  std::unique_ptr<Workspace> workspace_;
  // (n_blocks): the block's generation in the pool whose content this cache has all 32 positions of; 0: none.
  std::vector<std::uint32_t> complete_;
  // The batch at hand.
  std::vector<TokenId> tokens_;
  std::vector<BatchSpan> spans_;
  std::vector<int> logit_rows_;
  std::vector<Guess> guesses_;  // one of each logit row, while drafts are made
};

}  // namespace moebox

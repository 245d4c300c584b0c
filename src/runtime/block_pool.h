// The KV cache's memory, handed out in blocks of kv_block_tokens positions of all layers. A full block may be shared by
// several sequences; one that nobody uses any more keeps its content until its memory is needed, least recently used
// first.
#pragma once

#include <limits>
#include <vector>

#include "base/anonymous_memory.h"
#include "runtime/prefix_index.h"

namespace moebox {

class BlockPool {
 public:
  /// Throws Error(resource) when the system refuses the memory. `n_blocks` >= 1.
  BlockPool(const ModelInfo& model, int n_blocks);

  const KvBlocks& blocks() const noexcept { return blocks_; }
  int total() const noexcept { return blocks_.n_blocks; }
  /// Blocks that can be handed out, those that still have a content among them.
  int free() const noexcept { return static_cast<int>(empty_.size()) + n_idle_; }
  /// Blocks that nobody uses and that have a content.
  int idle() const noexcept { return n_idle_; }
  std::size_t bytes() const noexcept { return memory_.size(); }

  /// Another one each time that the block is handed out empty: who keeps something beside it knows whether it still
  /// belongs to the block's content.
  std::uint32_t generation(int block) const noexcept { return places_[static_cast<std::size_t>(block)].generation; }

  static int needed(int n_tokens) noexcept { return (n_tokens + kv_block_tokens - 1) / kv_block_tokens; }

  /// Grows `owned`, which has room for it, until it covers `n_tokens` positions. False, and nothing taken, when there
  /// are not enough.
  bool grow(std::vector<int>& owned, int n_tokens) noexcept;
  /// Takes all blocks back, but for those that others use. The contents of those from number `n_kept` on are forgotten.
  void release(std::vector<int>& owned, int n_kept = std::numeric_limits<int>::max()) noexcept;

  /// Says what a block holds, from now on for ever: nobody may write to it any more. The content's identity: that of
  /// another block where one has the same content already.
  std::uint64_t publish(int block, const BlockContent& content) noexcept;
  /// Appends a block that has this content to `owned`, which has room for it; its identity, or 0 when there is none.
  std::uint64_t share(std::vector<int>& owned, const BlockContent& content) noexcept;

 private:
  struct Place {
    int users = 0;
    std::uint32_t generation = 0;
    int older = -1, newer = -1;  // while it is idle; the ring's own place is the last one
  };
  Place& place(int block) noexcept { return places_[static_cast<std::size_t>(block)]; }
  void become_idle(int block) noexcept;
  void leave_idle(int block) noexcept;

  AnonymousMemory memory_;
  KvBlocks blocks_;
  PrefixIndex index_;
  std::vector<Place> places_;  // (n_blocks + 1)
  std::vector<int> empty_;     // without a content; the last one is handed out next
  int n_idle_ = 0;
};

}  // namespace moebox

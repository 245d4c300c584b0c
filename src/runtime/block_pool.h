// The KV cache's memory, handed out in blocks of kv_block_tokens positions of all layers.
#pragma once

#include <vector>

#include "base/anonymous_memory.h"
#include "models/model.h"

namespace moebox {

class BlockPool {
 public:
  /// Throws Error(resource) when the system refuses the memory. `n_blocks` >= 1.
  BlockPool(const ModelInfo& model, int n_blocks);

  const KvBlocks& blocks() const noexcept { return blocks_; }
  int total() const noexcept { return blocks_.n_blocks; }
  int free() const noexcept { return static_cast<int>(free_.size()); }
  std::size_t bytes() const noexcept { return memory_.size(); }

  static int needed(int n_tokens) noexcept { return (n_tokens + kv_block_tokens - 1) / kv_block_tokens; }

  /// Grows `owned`, which has room for it, until it covers `n_tokens` positions. False, and nothing taken, when there
  /// are not enough.
  bool grow(std::vector<int>& owned, int n_tokens) noexcept;
  /// Takes all blocks back.
  void release(std::vector<int>& owned) noexcept;

 private:
  AnonymousMemory memory_;
  KvBlocks blocks_;
  std::vector<int> free_;  // the last one is handed out next
};

}  // namespace moebox

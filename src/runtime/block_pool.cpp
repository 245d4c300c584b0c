#include "runtime/block_pool.h"

#include "base/checked.h"

namespace moebox {

BlockPool::BlockPool(const ModelInfo& model, int n_blocks)
    : memory_(checked_mul(model.kv_block_bytes(), static_cast<std::size_t>(n_blocks), "KV cache"), "KV cache", false) {
  blocks_ = {memory_.data(), n_blocks, model.kv.block_bytes()};
  free_.reserve(static_cast<std::size_t>(n_blocks));
  for (int i = n_blocks - 1; i >= 0; --i) free_.push_back(i);
}

bool BlockPool::grow(std::vector<int>& owned, int n_tokens) noexcept {
  const auto wanted = static_cast<std::size_t>(needed(n_tokens));
  if (wanted <= owned.size()) return true;
  if (wanted - owned.size() > free_.size()) return false;
  while (owned.size() < wanted) {
    owned.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void BlockPool::release(std::vector<int>& owned) noexcept {
  free_.insert(free_.end(), owned.rbegin(), owned.rend());  // reserved for all blocks: does not allocate
  owned.clear();
}

}  // namespace moebox

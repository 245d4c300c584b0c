#include "runtime/block_pool.h"

#include "base/checked.h"

namespace moebox {

BlockPool::BlockPool(const ModelInfo& model, int n_blocks)
    : memory_(checked_mul(model.kv_block_bytes(), static_cast<std::size_t>(n_blocks), "KV cache"), "KV cache", false),
      index_(n_blocks),
      places_(static_cast<std::size_t>(n_blocks) + 1) {
  blocks_ = {memory_.data(), n_blocks, model.kv.block_bytes()};
  place(n_blocks).older = place(n_blocks).newer = n_blocks;
  empty_.reserve(static_cast<std::size_t>(n_blocks));
  for (int i = n_blocks - 1; i >= 0; --i) empty_.push_back(i);
}

bool BlockPool::grow(std::vector<int>& owned, int n_tokens) noexcept {
  const auto wanted = static_cast<std::size_t>(needed(n_tokens));
  if (wanted <= owned.size()) return true;
  if (wanted - owned.size() > static_cast<std::size_t>(free())) return false;
  while (owned.size() < wanted) {
    if (empty_.empty()) {
      const int oldest = place(total()).newer;
      leave_idle(oldest);
      index_.remove(oldest);
      empty_.push_back(oldest);
    }
    owned.push_back(empty_.back());
    empty_.pop_back();
    place(owned.back()).users = 1;
    ++place(owned.back()).generation;
  }
  return true;
}

void BlockPool::release(std::vector<int>& owned, int n_kept) noexcept {
  // From the end on: a block is of no use without those before it, so these shall stay longest.
  while (!owned.empty()) {
    const int block = owned.back();
    owned.pop_back();
    if (--place(block).users > 0) continue;
    if (static_cast<int>(owned.size()) >= n_kept) index_.remove(block);
    if (index_.identity(block) != 0)
      become_idle(block);
    else
      empty_.push_back(block);  // reserved for all blocks: does not allocate
  }
}

std::uint64_t BlockPool::publish(int block, const BlockContent& content) noexcept {
  if (const int same = index_.find(content); same >= 0) return index_.identity(same);
  index_.add(block, content);
  return index_.identity(block);
}

std::uint64_t BlockPool::share(std::vector<int>& owned, const BlockContent& content) noexcept {
  const int block = index_.find(content);
  if (block < 0) return 0;
  if (place(block).users++ == 0) leave_idle(block);
  owned.push_back(block);
  return index_.identity(block);
}

/// Makes it the newest of the ring.
void BlockPool::become_idle(int block) noexcept {
  const int ring = total(), newest = place(ring).older;
  place(block).older = newest;
  place(block).newer = ring;
  place(newest).newer = place(ring).older = block;
  ++n_idle_;
}

void BlockPool::leave_idle(int block) noexcept {
  place(place(block).older).newer = place(block).newer;
  place(place(block).newer).older = place(block).older;
  --n_idle_;
}

}  // namespace moebox

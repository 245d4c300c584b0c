// What the KV cache's blocks hold: the index by which a sequence finds blocks that another one has computed. It knows
// contents and numbers of blocks; nothing of who uses them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"

namespace moebox {

/// All that decides the bits of a full block, but for the model and its options (docs/determinism.md), and who may
/// share it.
struct BlockContent {
  std::uint64_t parent = 0;  // identity of the block before it; 0: it begins the sequence
  std::uint64_t scope = 0;   // blocks are shared within a scope only
  RoutingBudget budget{};
  int n_prompt = kv_block_tokens;   // so many of the tokens have the role prompt, the others generated
  std::span<const TokenId> tokens;  // (kv_block_tokens)
};

/// Contents are compared token by token: a hash only says where to look. Allocates in its constructor alone.
class PrefixIndex {
 public:
  explicit PrefixIndex(int n_blocks);

  /// The block with this content, or -1.
  int find(const BlockContent& content) const noexcept;
  /// `block` has this content from now on, under an identity that no content had before.
  void add(int block, const BlockContent& content) noexcept;
  /// Nothing happens when it has none.
  void remove(int block) noexcept;
  /// Of a block's content, never 0; 0 when it has none.
  std::uint64_t identity(int block) const noexcept { return entries_[static_cast<std::size_t>(block)].identity; }

 private:
  struct Entry {
    std::uint64_t identity = 0, hash = 0;
    BlockContent content;  // its tokens lie in tokens_
    int next = -1;         // of the same bucket
  };
  int& bucket(std::uint64_t hash) noexcept { return buckets_[hash & (buckets_.size() - 1)]; }

  std::vector<Entry> entries_;   // (n_blocks)
  std::vector<TokenId> tokens_;  // (n_blocks, kv_block_tokens)
  std::vector<int> buckets_;     // a power of two: first block, or -1
  std::uint64_t last_identity_ = 0;
};

}  // namespace moebox

// Where blocks of the KV cache outlive the process: what the engine asks of such a place. It knows names, tokens and
// bytes; src/kv_store keeps them in files.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"

namespace moebox {

/// Stands for all that decides a block's bits (docs/determinism.md) and for who may share it: a keyed digest. Without
/// the key it tells nothing.
struct BlockName {
  std::array<std::byte, 32> bytes{};
  bool operator==(const BlockName&) const = default;
};

/// What a full block must be, to be used.
struct StoredBlock {
  BlockName name;
  BlockName parent;                 // of the block before it; root() for the first one
  int n_prompt = kv_block_tokens;   // as in BlockContent
  std::span<const TokenId> tokens;  // (kv_block_tokens)
};

struct BlockStoreStats {
  std::uint64_t capacity_bytes = 0, bytes = 0, blocks = 0;
  std::uint64_t removed_bytes = 0;  // since start: made room for newer ones
};

/// Thread safe. Nothing throws but root(): a store that fails is as good as one that is empty.
class BlockStore {
 public:
  virtual ~BlockStore() = default;

  /// The parent of first blocks. `circumstances`: all arguments of F but the tokens and what the store itself knows
  /// (the program, the machine), and the scope.
  virtual BlockName root(std::span<const std::byte> circumstances) const = 0;
  virtual BlockName name(const BlockName& parent, int n_prompt, std::span<const TokenId> tokens) const noexcept = 0;

  virtual bool contains(const BlockName& name) const noexcept = 0;
  /// Changes when something was removed.
  virtual std::uint64_t generation() const noexcept = 0;
  /// True: it is there now, or was before.
  virtual bool write(const StoredBlock& block, std::span<const std::byte> content) noexcept = 0;
  /// The content in `buffer`, which grows as needed; empty where there is no such block, or it does not hold.
  virtual std::span<const std::byte> read(const StoredBlock& wanted, std::size_t content_bytes,
                                          std::vector<std::byte>& buffer) noexcept = 0;
  virtual BlockStoreStats stats() const noexcept = 0;
};

}  // namespace moebox

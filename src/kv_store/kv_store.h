// Blocks of the KV cache in files, found again after a restart: `moebox serve --kv-store`. Records go into large files
// that are only appended to; the file that was used longest ago makes room. A store is a cache: what is damaged, or
// cannot be read or written, is computed again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "runtime/block_store.h"

namespace moebox {

struct KvStoreOptions {
  static constexpr std::uint64_t least_capacity_bytes = std::uint64_t{16} << 20;

  std::filesystem::path folder;
  std::uint64_t capacity_bytes = std::uint64_t{8} << 30;  // of all files together
  std::string key;                                        // a text; records are encrypted with what is made of it
};

/// The key in a file, its blanks at both ends cut off. Throws Error(invalid_file) for an empty or a large file,
/// Error(io) for one that cannot be read; warns of one that others may read.
std::string read_store_key(const std::filesystem::path& file);

class KvStore final : public BlockStore {
 public:
  /// Opens the folder, alone, and looks through its files. Throws as StoreFolder and StoreSecrets do, and
  /// Error(invalid_argument) for a capacity that is too small.
  explicit KvStore(const KvStoreOptions& options);
  ~KvStore() override;

  BlockName root(std::span<const std::byte> circumstances) const override;
  BlockName name(const BlockName& parent, int n_prompt, std::span<const TokenId> tokens) const noexcept override;
  bool contains(const BlockName& name) const noexcept override;
  std::uint64_t generation() const noexcept override;
  bool write(const StoredBlock& block, std::span<const std::byte> content) noexcept override;
  std::span<const std::byte> read(const StoredBlock& wanted, std::size_t content_bytes,
                                  std::vector<std::byte>& buffer) noexcept override;
  BlockStoreStats stats() const noexcept override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox

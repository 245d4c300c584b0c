// A shard: tokenized documents of one domain in a safetensors file. Tensors: `tokens` (U16 where the vocabulary fits,
// else U32), `document_starts` (I64, the place of each document's first token), and `loss_mask` (U8, 1 where the token
// is to be learnt) where not every token is. The metadata say format, tokenizer, domain and the data's checksum.
// Which shards belong together is the manifest's business (dataset.h).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {

inline constexpr std::string_view shard_format = "moebox-data";
inline constexpr int shard_format_version = 1;

/// Where text comes from, for mixing: of the world, of the field that a model is for, or written by a model.
enum class Level : std::uint8_t { general, domain, synthetic };
std::string_view name(Level level) noexcept;
std::optional<Level> level_from_name(std::string_view name) noexcept;

/// Letters, digits, '-' and '_', at most 64: domains are parts of file names.
bool is_domain_name(std::string_view name) noexcept;

struct ShardLabel {
  std::string tokenizer;    // tokenizer_digest()
  int vocabulary_size = 0;  // every token is below it
  std::string domain;
  Level level = Level::general;
};

/// Read-only, mapped. Copies of tokens come out as ids, whatever the type in the file.
class Shard {
 public:
  /// Maps and checks everything: the container, the metadata, the checksum of the data, every document's place, every
  /// token and mask. `file_digest`, where it is not empty, is the BLAKE2b that the whole file must have. Throws
  /// Error(invalid_file) that names the file; Error(unsupported) for a format of another version.
  explicit Shard(const std::filesystem::path& path, std::string_view file_digest = {});
  /// The same of bytes that the caller keeps; `where` names them in errors.
  Shard(std::span<const std::byte> bytes, const std::string& where, std::string_view file_digest = {});

  const ShardLabel& label() const noexcept { return label_; }
  std::int64_t n_tokens() const noexcept { return n_tokens_; }
  std::int64_t n_documents() const noexcept { return n_documents_; }
  bool has_mask() const noexcept { return !mask_.empty(); }
  /// Of document `i` < n_documents(): [begin, end), never empty.
  struct Range {
    std::int64_t begin, end;
    std::int64_t size() const noexcept { return end - begin; }
  };
  Range document(std::int64_t i) const noexcept;
  /// Tokens begin .. begin + ids.size(), which must lie in the shard.
  void copy_tokens(std::int64_t begin, std::span<TokenId> ids) const noexcept;
  /// 1 where the token is to be learnt; all 1 without a mask.
  void copy_mask(std::int64_t begin, std::span<std::uint8_t> mask) const noexcept;

 private:
  void read(std::span<const std::byte> bytes, const std::string& where, std::string_view file_digest);
  void check_content(const std::string& where) const;
  std::int64_t start(std::int64_t i) const noexcept;

  MappedFile file_;
  ShardLabel label_;
  std::int64_t n_tokens_ = 0, n_documents_ = 0;
  int token_bytes_ = 2;
  std::span<const std::byte> tokens_, starts_, mask_;
};

/// What was written: one entry of the manifest.
struct ShardRecord {
  std::string file;  // its name, without a folder
  std::int64_t n_documents = 0, n_tokens = 0, n_bytes = 0;
  std::string digest;  // of the whole file
};

/// Collects documents in memory and writes them as one file.
class ShardWriter {
 public:
  explicit ShardWriter(ShardLabel label) : label_(std::move(label)) {}

  /// `mask` is empty (every token is learnt) or as long as `ids`. Throws Error(internal) for an empty document and for
  /// ids outside the vocabulary.
  void add(std::span<const TokenId> ids, std::span<const std::uint8_t> mask = {});
  bool empty() const noexcept { return starts_.empty(); }
  std::int64_t n_tokens() const noexcept { return n_tokens_; }
  /// The whole file. Begins anew.
  std::string bytes();
  /// Writes "<folder>/<file>" and begins anew. Throws Error(io).
  ShardRecord write(const std::filesystem::path& folder, const std::string& file);

 private:
  /// What the file consists of: header, document_starts, tokens, loss_mask.
  std::array<std::span<const std::byte>, 4> parts(std::string& header) const;
  void clear() noexcept;

  ShardLabel label_;
  std::int64_t n_tokens_ = 0;
  std::vector<std::byte> tokens_;  // as they stand in the file
  std::vector<std::int64_t> starts_;
  std::vector<std::uint8_t> mask_;  // empty until a document has one
};

}  // namespace moebox::data

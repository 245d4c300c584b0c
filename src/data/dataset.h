// A folder of shards and its manifest, dataset.json: what belongs together, how it was made, what was left out and why.
// Reads; the manifest is written by what builds data (data/build).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/shard.h"

namespace moebox::data {

inline constexpr const char* manifest_name = "dataset.json";

/// The splits of a data set: what is trained on, and what is only ever measured.
inline constexpr std::string_view train_split = "train", held_out_split = "held_out";

struct ManifestShard {
  ShardRecord record;
  std::string split;
  std::size_t domain = 0;  // of Manifest::domains
};

struct ManifestDomain {
  std::string name;
  Level level = Level::general;
  std::optional<double> weight;   // share of the mix; none: by size. All domains have one, or none has.
  nlohmann::ordered_json report;  // what was counted while it was built: for people, and the report
};

struct Manifest {
  std::string tokenizer;  // tokenizer_digest()
  int vocabulary_size = 0;
  std::vector<ManifestDomain> domains;
  std::vector<ManifestShard> shards;
  nlohmann::ordered_json settings;  // as it was built

  /// Strict: keys, types, names and sums are checked. `where` names the file in errors. Throws Error(invalid_file), or
  /// Error(unsupported) for another version of the format.
  static Manifest parse(std::string_view text, const std::string& where);
  /// Of a data set's folder. Throws Error(not_found), Error(io), or as parse() does.
  static Manifest read(const std::filesystem::path& folder);
  /// What parse() reads.
  std::string text() const;
  /// Of one split, by domain, and in the manifest's order within each: so documents are numbered.
  std::vector<const ManifestShard*> shards_of(std::string_view split) const;
  /// What Dataset::digest() of that split says, if the shards are as they were written.
  std::string digest(std::string_view split) const;
};

/// The documents of one split, in the order of domains and shards. Immutable; several threads may read.
class Dataset {
 public:
  struct Options {
    std::string split = std::string(train_split);
    std::string tokenizer = {};  // the digest that the model's tokenizer has; empty: any
    int n_threads = 0;           // that check the shards; 0: all processors
  };
  struct Domain {
    std::string name;
    Level level = Level::general;
    std::optional<double> weight;
    std::int64_t n_documents = 0, n_tokens = 0;
    std::int64_t first_document = 0;  // its documents are numbered from here
  };

  /// Maps and checks every shard of the split against the manifest. Throws Error that names the file: not_found,
  /// invalid_file, io; invalid_argument when the data are of another tokenizer, or have no such split.
  static Dataset open(const std::filesystem::path& folder, const Options& options);
  static Dataset open(const std::filesystem::path& folder) { return open(folder, Options()); }
  /// Of shards in memory, for tests.
  static Dataset of(std::vector<Shard> shards);

  /// Recognises the content: the digest of the shards' digests, in order.
  const std::string& digest() const noexcept { return digest_; }
  const std::string& tokenizer() const noexcept { return tokenizer_; }
  int vocabulary_size() const noexcept { return vocabulary_size_; }
  const std::vector<Domain>& domains() const noexcept { return domains_; }
  std::int64_t n_documents() const noexcept { return n_documents_; }
  std::int64_t n_tokens() const noexcept { return n_tokens_; }

  /// Where document `number` < n_documents() stands.
  struct Place {
    const Shard* shard;
    Shard::Range range;
  };
  Place document(std::int64_t number) const noexcept;

 private:
  Dataset() = default;
  void number_documents();

  std::string digest_, tokenizer_;
  int vocabulary_size_ = 0;
  std::vector<Domain> domains_;
  std::vector<Shard> shards_;
  std::vector<std::int64_t> first_documents_;  // of each shard
  std::int64_t n_documents_ = 0, n_tokens_ = 0;
};

}  // namespace moebox::data

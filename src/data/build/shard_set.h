// The shards of a data set while it is written: one open shard for each domain and split.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace moebox::data {

class ShardSet {
 public:
  /// `manifest` has tokenizer, vocabulary and domains; shards are added to it. It must outlive this.
  ShardSet(std::filesystem::path folder, Manifest& manifest, std::int64_t shard_tokens)
      : folder_(std::move(folder)), manifest_(manifest), shard_tokens_(shard_tokens) {}

  void add(std::size_t domain, bool held_out, std::span<const TokenId> ids, std::span<const std::uint8_t> mask);
  /// Writes what is open.
  void finish();

 private:
  struct Open {
    ShardWriter writer;
    int n_written = 0;
  };
  void write(std::size_t domain, bool held_out, Open& open);

  std::filesystem::path folder_;
  Manifest& manifest_;
  std::int64_t shard_tokens_;
  std::map<std::pair<std::size_t, bool>, Open> open_;  // by domain and split
};

}  // namespace moebox::data

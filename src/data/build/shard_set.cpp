#include "data/build/shard_set.h"

#include <fmt/core.h>

namespace moebox::data {

void ShardSet::add(std::size_t domain, bool held_out, std::span<const TokenId> ids,
                   std::span<const std::uint8_t> mask) {
  const ManifestDomain& about = manifest_.domains[domain];
  const auto [found, is_new] =
      open_.try_emplace({domain, held_out}, Open{ShardWriter({.tokenizer = manifest_.tokenizer,
                                                              .vocabulary_size = manifest_.vocabulary_size,
                                                              .domain = about.name,
                                                              .level = about.level})});
  Open& open = found->second;
  const auto n_tokens = static_cast<std::int64_t>(ids.size());
  if (!open.writer.empty() && open.writer.n_tokens() + n_tokens > shard_tokens_) write(domain, held_out, open);
  open.writer.add(ids, mask);
}

void ShardSet::finish() {
  for (auto& [key, open] : open_)
    if (!open.writer.empty()) write(key.first, key.second, open);
}

void ShardSet::write(std::size_t domain, bool held_out, Open& open) {
  const std::string_view split = held_out ? held_out_split : train_split;
  const std::string file =
      fmt::format("{}-{}-{:05}.safetensors", split, manifest_.domains[domain].name, open.n_written++);
  manifest_.shards.push_back({open.writer.write(folder_, file), std::string(split), domain});
}

}  // namespace moebox::data

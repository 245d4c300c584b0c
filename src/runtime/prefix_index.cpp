#include "runtime/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/xxh64.h"

namespace moebox {
namespace {

std::uint64_t hash_of(const BlockContent& content) noexcept {
  const std::uint64_t start[] = {content.parent, content.scope, static_cast<std::uint64_t>(content.n_prompt)};
  return xxh64(std::as_bytes(content.tokens), xxh64(std::as_bytes(std::span(start))));
}

bool same(const BlockContent& a, const BlockContent& b) noexcept {
  return a.parent == b.parent && a.scope == b.scope && a.budget == b.budget && a.n_prompt == b.n_prompt &&
         std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
}

}  // namespace

PrefixIndex::PrefixIndex(int n_blocks)
    : entries_(static_cast<std::size_t>(n_blocks)),
      tokens_(static_cast<std::size_t>(n_blocks) * kv_block_tokens),
      buckets_(std::bit_ceil(static_cast<std::size_t>(n_blocks)), -1) {}

int PrefixIndex::find(const BlockContent& content) const noexcept {
  const std::uint64_t hash = hash_of(content);
  int block = buckets_[hash & (buckets_.size() - 1)];
  while (block >= 0) {
    const Entry& entry = entries_[static_cast<std::size_t>(block)];
    if (entry.hash == hash && same(entry.content, content)) return block;
    block = entry.next;
  }
  return -1;
}

void PrefixIndex::add(int block, const BlockContent& content) noexcept {
  remove(block);
  Entry& entry = entries_[static_cast<std::size_t>(block)];
  const std::span own = std::span(tokens_).subspan(static_cast<std::size_t>(block) * kv_block_tokens, kv_block_tokens);
  std::copy(content.tokens.begin(), content.tokens.end(), own.begin());
  entry.identity = ++last_identity_;
  entry.hash = hash_of(content);
  entry.content = content;
  entry.content.tokens = own;
  entry.next = bucket(entry.hash);
  bucket(entry.hash) = block;
}

void PrefixIndex::remove(int block) noexcept {
  Entry& entry = entries_[static_cast<std::size_t>(block)];
  if (entry.identity == 0) return;
  int* link = &bucket(entry.hash);
  while (*link != block) link = &entries_[static_cast<std::size_t>(*link)].next;
  *link = entry.next;
  entry.identity = 0;
}

}  // namespace moebox

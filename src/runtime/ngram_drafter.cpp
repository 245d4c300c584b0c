#include "runtime/ngram_drafter.h"

#include <algorithm>
#include <bit>

namespace moebox {
namespace {

constexpr int least_match = 2;        // tokens
constexpr int longest_match = 32;     // longer ones are taken as equal
constexpr int most_candidates = 128;  // of a chain that are looked at: a pair of tokens may stand everywhere
constexpr std::size_t most_buckets = 1 << 16;

}  // namespace

NgramDrafter::NgramDrafter(int max_tokens) {
  if (max_tokens < 1) return;
  heads_.resize(std::min(std::bit_ceil(static_cast<std::size_t>(max_tokens)), most_buckets), -1);
  earlier_.resize(static_cast<std::size_t>(max_tokens));
}

std::size_t NgramDrafter::bucket(TokenId before, TokenId last) const noexcept {
  const std::uint64_t pair =
      static_cast<std::uint64_t>(static_cast<std::uint32_t>(before)) << 32 | static_cast<std::uint32_t>(last);
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 40) & (heads_.size() - 1);
}

int NgramDrafter::propose(std::span<const TokenId> tokens, std::span<TokenId> out) noexcept {
  const int n = static_cast<int>(std::min(tokens.size(), earlier_.size()));
  if (n <= least_match || out.empty() || tokens.size() > earlier_.size()) return 0;
  const auto at = [&](int position) { return tokens[static_cast<std::size_t>(position)]; };
  for (; n_indexed_ < n - 1; ++n_indexed_) {  // the last token shall find others, not itself
    std::int32_t& head = heads_[bucket(at(n_indexed_ - 1), at(n_indexed_))];
    earlier_[static_cast<std::size_t>(n_indexed_)] = head;
    head = n_indexed_;
  }
  int best = -1, best_match = least_match - 1, candidates = 0;
  for (int end = heads_[bucket(at(n - 2), at(n - 1))];
       end >= 0 && candidates < most_candidates && best_match < longest_match;
       end = earlier_[static_cast<std::size_t>(end)], ++candidates) {
    int match = 0;
    while (match < longest_match && match <= end && at(end - match) == at(n - 1 - match)) ++match;
    if (match > best_match) best = end, best_match = match;
  }
  if (best < 0) return 0;
  for (int i = 0; i < static_cast<int>(out.size()); ++i) {
    const int source = best + 1 + i;
    out[static_cast<std::size_t>(i)] = source < n ? at(source) : out[static_cast<std::size_t>(source - n)];
  }
  return best_match;
}

}  // namespace moebox

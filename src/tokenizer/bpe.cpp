// Byte-pair encoding: a scan for short pieces, a queue for long ones, and a cache of pieces that came before.
#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/merge_queue.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr std::size_t kShort = 40;         // symbols up to which a scan beats the heap
constexpr std::size_t kHeap = 1u << 16;    // symbols up to which the heap beats lists
constexpr std::size_t kCachedBytes = 128;  // longer pieces hardly ever come twice
constexpr std::uint64_t kSpread = 0x9E3779B97F4A7C15u;

/// A piece that was encoded before, by where it stands in the text and where its ids stand in the result.
struct CacheEntry {
  const char* text = nullptr;
  std::uint32_t bytes = 0;
  std::uint32_t count = 0;
  std::size_t first_id = 0;
};

}  // namespace

struct Bpe::Work final : TokenModel::Scratch {
  std::vector<CacheEntry> cache;  // a power of two, direct-mapped
  std::vector<TokenId> symbols;
  std::vector<std::uint64_t> merges;  // of symbol i with its right neighbour
  std::vector<std::uint32_t> next, previous;
  std::vector<MergeCandidate> heap;
};

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const Options& options)
    : vocabulary_(vocabulary), options_(options) {
  byte_tokens_.fill(-1);
  all_bytes_ = options.byte_level;
  for (unsigned b = 0; b < 256 && (options.byte_level || options.byte_fallback); ++b) {
    std::string name;
    if (options.byte_level) {
      utf8::append(name, byte_level::character(static_cast<unsigned char>(b)));
    } else {
      name = fmt::format("<0x{:02X}>", b);
    }
    byte_tokens_[b] = vocabulary.find_plain(name).value_or(-1);
    all_bytes_ &= byte_tokens_[b] >= 0;
  }
  if (merges.size() > limits::kMerges) {
    throw Error(ErrorKind::resource,
                fmt::format("there are {} merges; at most {} are accepted", merges.size(), limits::kMerges),
                "tokenizer");
  }
  slots_.resize(std::bit_ceil(std::max<std::size_t>(merges.size() + merges.size() / 2, 2)));
  shift_ = 64 - std::countr_zero(slots_.size());
  filter_.resize(std::bit_ceil(std::max<std::size_t>(merges.size() * 8, 64)) / 64);
  filter_shift_ = 64 - std::countr_zero(filter_.size() * 64);
  for (std::size_t rank = 0; rank < merges.size(); ++rank) insert(merges[rank], static_cast<std::uint32_t>(rank));
}

void Bpe::insert(const Merge& merge, std::uint32_t rank) {
  for (const TokenId id : {merge.left, merge.right, merge.result}) {
    if (!vocabulary_.contains(id)) {
      throw Error(ErrorKind::invalid_file,
                  fmt::format("merge {} refers to a token that is not in the vocabulary", rank), "tokenizer");
    }
    if (vocabulary_.kind(id) == TokenKind::control) return;
  }
  const std::uint64_t pair = static_cast<std::uint64_t>(merge.left) << 32 | static_cast<std::uint32_t>(merge.right);
  const std::size_t mask = slots_.size() - 1;
  const std::uint64_t hash = pair * kSpread, bit = hash >> filter_shift_;
  filter_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  std::size_t slot = hash >> shift_;
  for (int probes = 0; slots_[slot].pair != kFree && slots_[slot].pair != pair; slot = (slot + 1) & mask) {
    if (++probes > kMaxProbes)
      throw Error(ErrorKind::invalid_file, "the merges were made to be slow: they collide", "tokenizer");
  }
  slots_[slot] = {pair, static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(merge.result)};
}

std::uint64_t Bpe::find(TokenId left, TokenId right) const noexcept {
  const std::uint64_t pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  const std::uint64_t hash = pair * kSpread, bit = hash >> filter_shift_;
  if ((filter_[bit / 64] >> (bit % 64) & 1) == 0) return kNoMerge;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash >> shift_;; slot = (slot + 1) & mask) {
    if (slots_[slot].pair == pair) return slots_[slot].merge;
    if (slots_[slot].pair == kFree) return kNoMerge;
  }
}

std::unique_ptr<TokenModel::Scratch> Bpe::make_scratch(std::size_t text_bytes) const {
  auto work = std::make_unique<Work>();
  work->cache.resize(std::bit_ceil(std::clamp<std::size_t>(text_bytes / 4, 16, 32768)));
  return work;
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const {
  auto& work = static_cast<Work&>(scratch);
  if (piece.size() > kCachedBytes) return encode_new(piece, work, ids);
  if (piece.size() == 1 && all_bytes_) {
    ids.push_back(byte_tokens_[static_cast<unsigned char>(piece[0])]);
    return;
  }
  CacheEntry& entry = work.cache[hash_bytes(piece) & (work.cache.size() - 1)];
  const std::size_t first = ids.size();
  if (entry.bytes == piece.size() && std::memcmp(entry.text, piece.data(), piece.size()) == 0) {
    ids.resize(first + entry.count);
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(entry.first_id), entry.count,
                ids.begin() + static_cast<std::ptrdiff_t>(first));
    return;
  }
  encode_new(piece, work, ids);
  entry = {piece.data(), static_cast<std::uint32_t>(piece.size()), static_cast<std::uint32_t>(ids.size() - first),
           first};
}

void Bpe::encode_new(std::string_view piece, Work& work, std::vector<TokenId>& ids) const {
  if (options_.ignore_merges && piece.size() <= limits::kTokenBytes) {
    const auto whole =
        options_.byte_level ? vocabulary_.find_plain(byte_level::to_characters(piece)) : vocabulary_.find_plain(piece);
    if (whole) {
      ids.push_back(*whole);
      return;
    }
  }
  work.symbols.clear();
  add_symbols(piece, work.symbols);
  if (work.symbols.size() <= kShort) {
    merge_short(work.symbols, work);
  } else if (work.symbols.size() <= kHeap) {
    merge_long(work.symbols, work, MergeHeap(work.heap));
  } else {
    merge_long(work.symbols, work, MergeLists());
  }
  ids.insert(ids.end(), work.symbols.begin(), work.symbols.end());
}

void Bpe::add_symbols(std::string_view piece, std::vector<TokenId>& symbols) const {
  bool unknown_waits = false;  // an unknown token that further characters may join
  const auto add_unknown = [&] {
    if (!options_.unknown) return;  // without an unknown token such a character is dropped, as Hugging Face does
    if (unknown_waits && !options_.fuse_unknown) symbols.push_back(*options_.unknown);
    unknown_waits = true;
  };
  const auto add = [&](TokenId id) {
    if (unknown_waits) symbols.push_back(*options_.unknown);
    unknown_waits = false;
    symbols.push_back(id);
  };
  if (options_.byte_level) {
    for (const char c : piece) {
      const TokenId id = byte_tokens_[static_cast<unsigned char>(c)];
      if (id >= 0) {
        add(id);
      } else {
        add_unknown();
      }
    }
  } else {
    for (std::size_t at = 0, length; at < piece.size(); at += length) {
      length = static_cast<std::size_t>(utf8::length(piece[at]));
      const std::string_view character = piece.substr(at, length);
      if (const auto id = vocabulary_.find_plain(character)) {
        add(*id);
        continue;
      }
      const bool spelled = options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char c) {
                             return byte_tokens_[static_cast<unsigned char>(c)] >= 0;
                           });
      if (!spelled) {
        add_unknown();
        continue;
      }
      for (const char c : character) symbols.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
    }
  }
  if (unknown_waits) symbols.push_back(*options_.unknown);
}

void Bpe::merge_short(std::vector<TokenId>& symbols, Work& work) const {
  std::size_t n = symbols.size();
  if (n < 2) return;
  auto& merges = work.merges;
  merges.resize(n);
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  for (;;) {
    const auto best = std::min_element(merges.begin(), merges.begin() + static_cast<std::ptrdiff_t>(n - 1));
    if (n < 2 || *best == kNoMerge) break;
    const auto at = static_cast<std::size_t>(best - merges.begin());
    symbols[at] = static_cast<TokenId>(*best & 0xFFFFFFFFu);
    --n;
    for (std::size_t i = at + 1; i < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i - 1] = merges[i];
    }
    if (at + 1 < n) merges[at] = find(symbols[at], symbols[at + 1]);
    if (at > 0) merges[at - 1] = find(symbols[at - 1], symbols[at]);
  }
  symbols.resize(n);
}

template <class Queue>
void Bpe::merge_long(std::vector<TokenId>& symbols, Work& work, Queue queue) const {
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  const auto n = static_cast<std::uint32_t>(symbols.size());
  auto& merges = work.merges;
  auto &next = work.next, &previous = work.previous;
  merges.assign(n, kNoMerge);
  next.resize(n);
  previous.resize(n);
  const auto look = [&](std::uint32_t at) {
    merges[at] = next[at] == kNone ? kNoMerge : find(symbols[at], symbols[next[at]]);
    if (merges[at] != kNoMerge) queue.push({merges[at], at});
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kNone;
    previous[i] = i > 0 ? i - 1 : kNone;
    look(i);
  }
  while (!queue.empty()) {
    const MergeCandidate best = queue.pop();
    if (merges[best.at] != best.merge) continue;  // one of the two has changed since
    const std::uint32_t gone = next[best.at];
    symbols[best.at] = static_cast<TokenId>(best.merge & 0xFFFFFFFFu);
    symbols[gone] = -1;
    merges[gone] = kNoMerge;
    next[best.at] = next[gone];
    if (next[gone] != kNone) previous[next[gone]] = best.at;
    if (previous[best.at] != kNone) look(previous[best.at]);
    look(best.at);
  }
  std::erase(symbols, -1);
}

}  // namespace moebox

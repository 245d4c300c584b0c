// The tokens of a model: texts, kinds, bytes, and the way back from a text to its id.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

/// Limits on what a tokenizer's file may declare; exceeding one is an Error(resource).
namespace limits {
inline constexpr std::size_t kFileBytes = 256u << 20;
inline constexpr std::size_t kTokens = 2u << 20;             // ids are below this
inline constexpr std::size_t kTokenBytes = 1u << 16;         // of one token
inline constexpr std::size_t kVocabularyBytes = 256u << 20;  // of all tokens
inline constexpr std::size_t kMerges = 8u << 20;
inline constexpr std::size_t kAddedTokenBytes = 512;  // of a token that is searched for in the text
}  // namespace limits

/// Strings one after the other, without an allocation for each.
class StringList {
 public:
  void push_back(std::string_view text);
  std::string_view operator[](std::size_t i) const noexcept {
    const std::uint32_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(begin, ends_[i] - begin);
  }
  std::size_t size() const noexcept { return ends_.size(); }
  void shrink() { bytes_.shrink_to_fit(), ends_.shrink_to_fit(); }

 private:
  std::string bytes_;
  std::vector<std::uint32_t> ends_;
};

class Vocabulary {
 public:
  struct Token {
    std::string text;  // empty: the id is not in use
    TokenKind kind = TokenKind::unused;
  };

  /// Takes the tokens by id. Throws Error(invalid_file) for a text that two ids share, Error(resource) beyond the
  /// limits.
  Vocabulary(std::vector<Token> tokens, std::string_view where);

  int size() const noexcept { return static_cast<int>(texts_.size()); }
  bool contains(TokenId id) const noexcept { return id >= 0 && static_cast<std::size_t>(id) < texts_.size(); }
  /// These two for ids in the vocabulary only.
  std::string_view text(TokenId id) const noexcept { return texts_[static_cast<std::size_t>(id)]; }
  TokenKind kind(TokenId id) const noexcept { return kinds_[static_cast<std::size_t>(id)]; }

  std::optional<TokenId> find(std::string_view text) const noexcept;
  /// As find, but only tokens that text may be spelled with: neither control tokens nor the unknown token.
  std::optional<TokenId> find_plain(std::string_view text) const noexcept;

 private:
  StringList texts_;
  std::vector<TokenKind> kinds_;
  std::vector<TokenId> slots_;  // open addressing over the texts; -1 is free
};

/// A fast hash for the tables of this folder. It is not keyed: tables that hold what came from a file bound their
/// probes.
inline std::uint64_t hash_bytes(const char* p, std::size_t n) noexcept {
  constexpr std::uint64_t kA = 0x9E3779B97F4A7C15u, kB = 0xD6E8FEB86659FD93u;
  const auto mix = [](std::uint64_t a, std::uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  std::uint64_t h = n * kA, word;
  for (; n >= 8; p += 8, n -= 8) {
    std::memcpy(&word, p, 8);
    h = mix(h ^ word ^ kB, kA);
  }
  word = 0;
  for (std::size_t i = 0; i < n; ++i) word |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  return mix(h ^ word ^ kA, kB);
}
inline std::uint64_t hash_bytes(std::string_view bytes) noexcept { return hash_bytes(bytes.data(), bytes.size()); }
/// Longest search in a table of an honest file is far below this.
inline constexpr int kMaxProbes = 1024;

}  // namespace moebox

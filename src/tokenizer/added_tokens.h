// Tokens that are cut out of a text before anything else looks at it: control tokens and plain added tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool control = true;       // found in trusted text only
  bool single_word = false;  // only where no word character touches it
  bool strip_left = false;   // takes the white space before it
  bool strip_right = false;  // takes the white space behind it
  bool normalized = false;   // is looked for after normalisation
};

/// Which parts of a text are trusted: ends of runs, alternating, the first one untrusted (it may be empty).
class TrustMap {
 public:
  void append(std::size_t bytes, bool trusted);
  bool all(bool trusted) const noexcept;
  /// Is every byte of [begin, end) trusted?
  bool covers(std::size_t begin, std::size_t end) const noexcept;
  /// The part of the map for [begin, end).
  TrustMap part(std::size_t begin, std::size_t end) const;
  std::size_t size() const noexcept { return ends_.empty() ? 0 : ends_.back(); }

 private:
  std::vector<std::size_t> ends_;
};

class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  /// Throws Error for a content that is empty or too long. Of equal contents the lowest id counts.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const noexcept { return tokens_.empty(); }

  struct Found {
    std::size_t begin, end;  // with the white space that it takes
    TokenId id;
  };
  /// All tokens in `text`, left to right, of two that begin at one place the longer one. A control token counts only
  /// where every byte of its content is trusted: elsewhere the search goes on as if the tokenizer did not have it.
  std::vector<Found> find(std::string_view text, const TrustMap& trust) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t at, const TrustMap& trust) const;

  std::vector<AddedToken> tokens_;  // by content
  struct Range {
    std::uint32_t first = 0, last = 0;
  };
  std::array<Range, 256> by_first_byte_{};
};

}  // namespace moebox

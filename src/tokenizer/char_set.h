// A set of characters as regular expressions spell them: categories, ranges, negation.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "tokenizer/unicode.h"

namespace moebox {

class CharSet {
 public:
  void add(char32_t first, char32_t last);
  void add(char32_t code_point) { add(code_point, code_point); }
  void add_categories(std::uint32_t categories);
  void add_whitespace();
  void add_word();
  /// Everything that is not in the set so far.
  void negate() noexcept;

  bool has_ascii(unsigned char c) const noexcept { return (ascii_[c >> 6] >> (c & 63) & 1) != 0; }
  bool contains(char32_t c) const noexcept { return c < 0x80 ? has_ascii(static_cast<unsigned char>(c)) : has_wide(c); }
  /// May a character above U+007F be in the set? (Never false when one is.)
  bool may_have_wide() const noexcept { return negated_ || categories_ != 0 || !ranges_.empty(); }

 private:
  bool has_wide(char32_t c) const noexcept {
    return ((categories_ >> static_cast<int>(table_->at(c)) & 1) != 0 || in_ranges(c)) != negated_;
  }
  bool in_ranges(char32_t c) const noexcept;

  const unicode::CategoryTable* table_ = &unicode::CategoryTable::get();
  std::array<std::uint64_t, 2> ascii_{};               // with the negation applied
  std::uint32_t categories_ = 0;                       // these three for the characters above U+007F
  std::vector<std::pair<char32_t, char32_t>> ranges_;  // ascending, apart
  bool negated_ = false;
};

}  // namespace moebox

// Building sets of characters.
#include "tokenizer/char_set.h"

#include <algorithm>
#include <iterator>

namespace moebox {

void CharSet::add(char32_t first, char32_t last) {
  for (char32_t c = first; c <= last && c < 0x80; ++c) ascii_[c >> 6] |= std::uint64_t{1} << (c & 63);
  if (last < 0x80) return;
  ranges_.emplace_back(std::max<char32_t>(first, 0x80), last);
  std::sort(ranges_.begin(), ranges_.end());
  std::size_t kept = 0;
  for (std::size_t i = 1; i < ranges_.size(); ++i) {
    if (ranges_[i].first <= ranges_[kept].second + 1) {
      ranges_[kept].second = std::max(ranges_[kept].second, ranges_[i].second);
    } else {
      ranges_[++kept] = ranges_[i];
    }
  }
  ranges_.resize(kept + 1);
}

bool CharSet::in_ranges(char32_t c) const noexcept {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                      [](char32_t value, const auto& range) { return value < range.first; });
  return after != ranges_.begin() && c <= std::prev(after)->second;
}

void CharSet::add_categories(std::uint32_t categories) {
  for (char32_t c = 0; c < 0x80; ++c) {
    if (unicode::in(categories, c)) ascii_[c >> 6] |= std::uint64_t{1} << (c & 63);
  }
  categories_ |= categories;
}

void CharSet::add_whitespace() {
  add(0x09, 0x0D);
  add(0x20);
  add(0x85);
  add_categories(
      unicode::kSeparator);  // all of them are white space, and with the controls above all white space there is
}

void CharSet::add_word() {
  using enum unicode::Category;
  add_categories(unicode::kLetter | unicode::kMark | unicode::bits(Nd, Nl, Pc));
  add(0x24B6, 0x24E9);  // Other_Alphabetic: circled and squared Latin letters
  add(0x1F130, 0x1F149);
  add(0x1F150, 0x1F169);
  add(0x1F170, 0x1F189);
}

void CharSet::negate() noexcept {
  for (auto& word : ascii_) word = ~word;
  negated_ = !negated_;
}

}  // namespace moebox

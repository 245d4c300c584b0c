// Properties of characters, looked up in a two-stage table that is made once from a list of runs.
#include "tokenizer/unicode.h"

#include <iterator>

namespace moebox::unicode {
namespace {

struct Run {
  std::uint32_t first;
  Category category;
};

using enum Category;
constexpr Run kRuns[] = {
#include "tokenizer/unicode_categories.inc"
};

}  // namespace

CategoryTable::CategoryTable() {
  Block block{};
  std::size_t run = 0;
  for (std::uint32_t index = 0; index < kBlocks; ++index) {
    for (std::uint32_t i = 0; i < kBlock; ++i) {
      const std::uint32_t code_point = index * kBlock + i;
      while (run + 1 < std::size(kRuns) && kRuns[run + 1].first <= code_point) ++run;
      block[i] = kRuns[run].category;
    }
    block_of_[index] = store(block);
  }
}

std::uint8_t CategoryTable::store(const Block& block) {
  for (std::size_t i = blocks_.size(); i-- > 0;) {  // from the end: neighbours are often equal
    if (blocks_[i] == block) return static_cast<std::uint8_t>(i);
  }
  blocks_.push_back(block);  // Unicode 16 has 163 different blocks
  return static_cast<std::uint8_t>(blocks_.size() - 1);
}

const CategoryTable& CategoryTable::get() {
  static const CategoryTable table;
  return table;
}

bool is_whitespace(char32_t c) noexcept {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) noexcept {
  constexpr std::uint32_t kWord = kLetter | kMark | bits(Category::Nd, Category::Nl, Category::Pc);
  if (in(kWord, c)) return true;
  // Other_Alphabetic outside of letters, marks and numbers: the circled and squared Latin letters.
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

}  // namespace moebox::unicode

// Properties of characters: general category, white space, word characters. Normal forms are in normal_form.h.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace moebox::unicode {

/// The general category of a code point (Unicode 16.0, section 4.5).
enum class Category : std::uint8_t {
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,
  Sm,
  Sc,
  Sk,
  So,
  Zs,
  Zl,
  Zp,
  Cc,
  Cf,
  Cs,
  Co,
  Cn,
};

/// Sets of categories as bits.
constexpr std::uint32_t bit(Category category) noexcept { return std::uint32_t{1} << static_cast<int>(category); }
template <class... Categories>
constexpr std::uint32_t bits(Categories... categories) noexcept {
  return (bit(categories) | ...);
}
inline constexpr std::uint32_t kAllCategories = (std::uint32_t{1} << 30) - 1;
inline constexpr std::uint32_t kLetter = bits(Category::Lu, Category::Ll, Category::Lt, Category::Lm, Category::Lo);
inline constexpr std::uint32_t kMark = bits(Category::Mn, Category::Mc, Category::Me);
inline constexpr std::uint32_t kNumber = bits(Category::Nd, Category::Nl, Category::No);
inline constexpr std::uint32_t kPunctuation =
    bits(Category::Pc, Category::Pd, Category::Ps, Category::Pe, Category::Pi, Category::Pf, Category::Po);
inline constexpr std::uint32_t kSymbol = bits(Category::Sm, Category::Sc, Category::Sk, Category::So);
inline constexpr std::uint32_t kSeparator = bits(Category::Zs, Category::Zl, Category::Zp);
inline constexpr std::uint32_t kOther = bits(Category::Cc, Category::Cf, Category::Cs, Category::Co, Category::Cn);

/// The categories of all code points, in two stages: blocks of 256, equal blocks stored once. About 45 KB.
class CategoryTable {
 public:
  static const CategoryTable& get();

  /// The category of any number; those above U+10FFFF are unassigned.
  Category at(char32_t code_point) const noexcept {
    if (code_point >= kBlocks * kBlock) return Category::Cn;
    return blocks_[block_of_[code_point / kBlock]][code_point % kBlock];
  }

 private:
  static constexpr std::uint32_t kBlock = 256;
  static constexpr std::uint32_t kBlocks = 0x110000 / kBlock;
  using Block = std::array<Category, kBlock>;

  CategoryTable();
  std::uint8_t store(const Block& block);

  std::array<std::uint8_t, kBlocks> block_of_{};
  std::vector<Block> blocks_;
};

inline Category category(char32_t code_point) noexcept { return CategoryTable::get().at(code_point); }

inline bool in(std::uint32_t categories, char32_t code_point) noexcept {
  return (categories >> static_cast<int>(category(code_point)) & 1) != 0;
}

/// The property White_Space.
bool is_whitespace(char32_t code_point) noexcept;

/// A word character of Unicode Technical Standard 18, annex C: alphabetic, mark, decimal digit, connector punctuation.
bool is_word(char32_t code_point) noexcept;

}  // namespace moebox::unicode

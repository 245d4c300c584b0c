#include "data/build/words.h"

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace moebox::data {

bool is_word_by_itself(char32_t c) noexcept {
  if (c < 0x0E00) return false;
  return c <= 0x0EFF ||                                                                                   // Thai, Lao
         (c >= 0x1000 && c <= 0x109F) ||                                                                  // Myanmar
         (c >= 0x1780 && c <= 0x17FF) ||                                                                  // Khmer
         (c >= 0x3040 && c <= 0x30FF) ||                                                                  // kana
         (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||  // ideographs
         (c >= 0x20000 && c <= 0x3FFFF);
}

namespace {

/// Marks of those scripts, which stand without spaces around them: they part words and are none.
bool is_mark_between_words(char32_t c) noexcept {
  return (c >= 0x3000 && c <= 0x303F) || (c >= 0xFF00 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF20) ||
         (c >= 0xFF3B && c <= 0xFF40) || (c >= 0xFF5B && c <= 0xFF65) || c == 0x201C || c == 0x201D || c == 0x2026 ||
         c == 0x2014;
}

}  // namespace

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  const auto end_word = [&](std::size_t at) {
    if (at > begin) words.push_back(text.substr(begin, at - begin));
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto length = static_cast<std::size_t>(utf8::length(text[at]));
    const char32_t c = length == 1 ? static_cast<unsigned char>(text[at]) : utf8::decode(text.data() + at);
    const bool space =
        c < 0x80 ? c == ' ' || (c >= '\t' && c <= '\r') : unicode::is_whitespace(c) || is_mark_between_words(c);
    if (space || is_word_by_itself(c)) {
      end_word(at);
      if (!space) words.push_back(text.substr(at, length));
      begin = at + length;
    }
    at += length;
  }
  end_word(text.size());
  return words;
}

}  // namespace moebox::data

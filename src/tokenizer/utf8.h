// UTF-8: decoding, checking, and replacing what is not valid. Knows nothing of tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace moebox::utf8 {

/// U+FFFD in UTF-8, what every maximal invalid piece is replaced by (Unicode 16, section 3.9, table 3-11).
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// What stands at the beginning of some bytes.
struct Sequence {
  enum class State { complete, truncated, invalid };
  State state;
  int length;  // bytes of the character, of the unfinished character, or of the maximal invalid piece
};

/// Examines the first character of `text`, which must not be empty (Unicode 16, table 3-7).
Sequence examine(std::string_view text) noexcept;

/// Length of the longest valid prefix in bytes.
std::size_t valid_prefix(std::string_view text) noexcept;

/// `text` with every maximal invalid piece replaced by U+FFFD, as Python's errors="replace" does.
std::string replace_invalid(std::string_view text);

/// Moves every complete character (invalid pieces as U+FFFD) from `pending` to the result; leaves an unfinished
/// character.
std::string take_complete(std::string& pending);

/// Bytes of the character that begins with `lead`; the text must be valid.
constexpr int length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// The code point at `p`; the text must be valid.
constexpr char32_t decode(const char* p) noexcept {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  if (lead < 0xF0) return (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

constexpr bool is_continuation(char c) noexcept { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// Appends a code point (a Unicode scalar value).
void append(std::string& text, char32_t code_point);

/// Number of characters; the text must be valid.
std::size_t count(std::string_view text) noexcept;

}  // namespace moebox::utf8

// GPT-2's byte map.
#include "tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace moebox::byte_level {
namespace {

struct Tables {
  std::array<std::uint16_t, 256> character{};
  std::array<std::int16_t, 324> byte{};  // the map ends at U+0143
};

constexpr bool printable(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// Printable Latin-1 stands for itself; the others follow from U+0100 in their order.
constexpr Tables make_tables() {
  Tables tables;
  for (auto& b : tables.byte) b = -1;
  std::uint16_t other = 0x100;
  for (unsigned b = 0; b < 256; ++b) {
    const std::uint16_t c = printable(b) ? static_cast<std::uint16_t>(b) : other++;
    tables.character[b] = c;
    tables.byte[c] = static_cast<std::int16_t>(b);
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

char32_t character(unsigned char byte) noexcept { return kTables.character[byte]; }

std::optional<unsigned char> byte(char32_t character) noexcept {
  if (character >= kTables.byte.size() || kTables.byte[character] < 0) return std::nullopt;
  return static_cast<unsigned char>(kTables.byte[character]);
}

std::string to_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) utf8::append(out, character(static_cast<unsigned char>(b)));
  return out;
}

std::optional<std::string> to_bytes(std::string_view characters) {
  std::string out;
  out.reserve(characters.size());
  for (std::size_t at = 0; at < characters.size(); at += static_cast<std::size_t>(utf8::length(characters[at]))) {
    const auto b = byte(utf8::decode(characters.data() + at));
    if (!b) return std::nullopt;
    out.push_back(static_cast<char>(*b));
  }
  return out;
}

}  // namespace moebox::byte_level

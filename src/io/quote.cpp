#include "io/quote.h"

#include <algorithm>
#include <cstddef>

#include <utf8proc.h>

namespace moebox {
namespace {

/// Bytes of the character at the start of `text`, or 0 when there is no well-formed one.
std::size_t character_bytes(std::string_view text) noexcept {
  utf8proc_int32_t codepoint;
  const auto length = static_cast<utf8proc_ssize_t>(std::min<std::size_t>(text.size(), 4));
  const auto n_bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), length, &codepoint);
  return n_bytes > 0 ? static_cast<std::size_t>(n_bytes) : 0;
}

}  // namespace

std::string quote(std::string_view text) {
  constexpr std::size_t max_bytes = 100;
  constexpr std::string_view digits = "0123456789abcdef";
  std::string quoted = "'";
  while (!text.empty() && quoted.size() < max_bytes) {
    const std::size_t n_bytes = character_bytes(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    if (n_bytes == 0 || byte < 0x20 || byte == 0x7f) {
      quoted += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      text.remove_prefix(1);
    } else {
      quoted += text.substr(0, n_bytes);
      text.remove_prefix(n_bytes);
    }
  }
  return quoted + (text.empty() ? "'" : "...'");
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t n_bytes = character_bytes(text);
    if (n_bytes == 0) return false;
    text.remove_prefix(n_bytes);
  }
  return true;
}

}  // namespace moebox

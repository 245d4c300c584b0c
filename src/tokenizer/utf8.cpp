// UTF-8: decoding, checking, replacing.
#include "tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace moebox::utf8 {

Sequence examine(std::string_view text) noexcept {
  using State = Sequence::State;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {State::complete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {State::invalid, 1};
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte has a range that depends on the first: no overlong forms, no surrogates, nothing above
  // U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i < length; ++i) {
    if (static_cast<std::size_t>(i) >= text.size()) return {State::truncated, i};
    const unsigned b = byte(static_cast<std::size_t>(i));
    if (i == 1 ? (b < low || b > high) : (b < 0x80 || b > 0xBF)) return {State::invalid, i};
  }
  return {State::complete, length};
}

std::size_t valid_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight;
    while (at + sizeof eight <= text.size()) {  // ASCII, eight at a time
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if (eight & 0x8080808080808080u) break;
      at += sizeof eight;
    }
    if (at >= text.size()) break;
    const Sequence next = examine(text.substr(at));
    if (next.state != Sequence::State::complete) return at;
    at += static_cast<std::size_t>(next.length);
  }
  return at;
}

std::string replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = valid_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    out.append(kReplacement);
    text.remove_prefix(static_cast<std::size_t>(examine(text).length));
  }
  return out;
}

std::string take_complete(std::string& pending) {
  std::string_view rest = pending;
  std::string out;
  while (!rest.empty()) {
    const std::size_t valid = valid_prefix(rest);
    out.append(rest.substr(0, valid));
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    const Sequence next = examine(rest);
    if (next.state == Sequence::State::truncated) break;
    out.append(kReplacement);
    rest.remove_prefix(static_cast<std::size_t>(next.length));
  }
  pending.erase(0, pending.size() - rest.size());
  return out;
}

void append(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::size_t count(std::string_view text) noexcept {
  std::size_t n = 0;
  for (const char c : text) n += !is_continuation(c);
  return n;
}

}  // namespace moebox::utf8

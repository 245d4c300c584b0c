#include "cli/line_buffer.h"

#include <algorithm>
#include <utility>

#include <utf8proc.h>

namespace moebox::cli {
namespace {

struct CodePoint {
  utf8proc_int32_t value = 0xfffd;
  std::size_t bytes = 1;
  bool valid = false;
};

CodePoint code_point_at(std::string_view text, std::size_t position) {
  CodePoint code;
  const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position,
                                  static_cast<utf8proc_ssize_t>(text.size() - position), &code.value);
  if (n > 0) return {code.value, static_cast<std::size_t>(n), true};
  return {0xfffd, 1, false};
}

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t'; }

}  // namespace

std::size_t character_bytes(std::string_view text, std::size_t position) {
  if (position >= text.size()) return 0;
  CodePoint previous = code_point_at(text, position);
  std::size_t end = position + previous.bytes;
  utf8proc_int32_t state = 0;
  while (previous.valid && end < text.size()) {
    const CodePoint next = code_point_at(text, end);
    if (!next.valid || utf8proc_grapheme_break_stateful(previous.value, next.value, &state)) break;
    end += next.bytes;
    previous = next;
  }
  return end - position;
}

int character_width(std::string_view character) {
  if (character.empty()) return 0;
  constexpr utf8proc_int32_t emoji_presentation = 0xfe0f;
  int width = 0;
  for (std::size_t i = 0; i < character.size();) {
    const CodePoint code = code_point_at(character, i);
    width = std::max(width, code.value == emoji_presentation ? 2 : utf8proc_charwidth(code.value));
    i += code.bytes;
  }
  return std::min(width, 2);
}

void LineBuffer::set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

void LineBuffer::insert(std::string_view text) {
  std::string clean;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint code = code_point_at(text, i);
    const bool control = code.value < 0x20 || (code.value >= 0x7f && code.value < 0xa0);
    if (!code.valid) {
      clean += "\xef\xbf\xbd";
    } else if (!control || code.value == '\n' || code.value == '\t') {
      clean += text.substr(i, code.bytes);
    }
    i += code.bytes;
  }
  text_.insert(cursor_, clean);
  cursor_ += clean.size();
}

std::size_t LineBuffer::before(std::size_t position) const {
  std::size_t previous = 0;
  for (std::size_t i = 0; i < position;) {
    previous = i;
    i += character_bytes(text_, i);
  }
  return previous;
}

std::size_t LineBuffer::after(std::size_t position) const { return position + character_bytes(text_, position); }

std::size_t LineBuffer::word_start(std::size_t position) const {
  while (position > 0 && is_blank(text_[position - 1])) --position;
  while (position > 0 && !is_blank(text_[position - 1])) --position;
  return position;
}

std::size_t LineBuffer::word_end(std::size_t position) const {
  while (position < text_.size() && is_blank(text_[position])) ++position;
  while (position < text_.size() && !is_blank(text_[position])) ++position;
  return position;
}

bool LineBuffer::left() {
  if (cursor_ == 0) return false;
  cursor_ = before(cursor_);
  return true;
}

bool LineBuffer::right() {
  if (cursor_ == text_.size()) return false;
  cursor_ = after(cursor_);
  return true;
}

void LineBuffer::word_left() { cursor_ = word_start(cursor_); }
void LineBuffer::word_right() { cursor_ = word_end(cursor_); }

void LineBuffer::home() {
  const std::size_t feed = cursor_ == 0 ? std::string::npos : text_.rfind('\n', cursor_ - 1);
  cursor_ = feed == std::string::npos ? 0 : feed + 1;
}

void LineBuffer::end() { cursor_ = std::min(text_.find('\n', cursor_), text_.size()); }

void LineBuffer::cut(std::size_t first, std::size_t last) {
  taken_ = text_.substr(first, last - first);
  text_.erase(first, last - first);
  cursor_ = first;
}

bool LineBuffer::erase_before() {
  if (cursor_ == 0) return false;
  const std::size_t first = before(cursor_);
  text_.erase(first, cursor_ - first);
  cursor_ = first;
  return true;
}

bool LineBuffer::erase_after() {
  if (cursor_ == text_.size()) return false;
  text_.erase(cursor_, character_bytes(text_, cursor_));
  return true;
}

void LineBuffer::erase_word_before() { cut(word_start(cursor_), cursor_); }
void LineBuffer::erase_word_after() { cut(cursor_, word_end(cursor_)); }

void LineBuffer::erase_to_end() { cut(cursor_, std::min(text_.find('\n', cursor_), text_.size())); }

void LineBuffer::erase_to_home() {
  const std::size_t last = cursor_;
  home();
  cut(cursor_, last);
}

void LineBuffer::yank() { insert(std::string(taken_)); }

}  // namespace moebox::cli

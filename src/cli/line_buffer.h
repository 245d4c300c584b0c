// A line of text that is being edited, by whole characters as a person sees them (grapheme clusters). Knows no
// terminal.
#pragma once

#include <string>
#include <string_view>

namespace moebox::cli {

class LineBuffer {
 public:
  const std::string& text() const { return text_; }
  /// A byte offset at a border of two characters.
  std::size_t cursor() const { return cursor_; }
  bool empty() const { return text_.empty(); }

  void set(std::string text);
  /// Invalid UTF-8 becomes U+FFFD, other control characters than line feed and tab are left out.
  void insert(std::string_view text);

  bool left();
  bool right();
  void word_left();
  void word_right();
  /// Start and end of the line that the cursor is in (the text may have several).
  void home();
  void end();

  bool erase_before();
  bool erase_after();
  void erase_word_before();
  void erase_word_after();
  void erase_to_end();
  void erase_to_home();
  /// Puts back what the last of the erase_word_ and erase_to_ functions took.
  void yank();

 private:
  std::size_t before(std::size_t position) const;
  std::size_t after(std::size_t position) const;
  std::size_t word_start(std::size_t position) const;
  std::size_t word_end(std::size_t position) const;
  void cut(std::size_t first, std::size_t last);

  std::string text_;
  std::size_t cursor_ = 0;
  std::string taken_;
};

/// The length in bytes of the character (grapheme cluster) that begins at `position`; 1 for a stray byte, 0 at the end.
std::size_t character_bytes(std::string_view text, std::size_t position);
/// Columns that a character takes on a terminal: 0 to 2.
int character_width(std::string_view character);

}  // namespace moebox::cli

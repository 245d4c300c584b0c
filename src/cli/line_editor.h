// Reads a line from a terminal: arrows, history, Emacs' keys, pasted text, wide characters. Not a shell: nothing is
// interpreted.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/line_buffer.h"

namespace moebox::cli {

/// What was typed before, kept in a file (mode 0600, one entry a line, newest last). An empty path or "off" keeps none.
class History {
 public:
  explicit History(std::string path);
  /// Adds an entry that is not empty and not the last one again; a file that cannot be written is ignored.
  void add(const std::string& entry);
  const std::vector<std::string>& entries() const { return entries_; }

 private:
  std::string path_;
  std::vector<std::string> entries_;
};

/// Turns the terminal on stdin raw (no echo, no line mode, no signals from keys) while one lives. Output stays as it
/// was.
class RawMode {
 public:
  RawMode();
  ~RawMode();
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

  /// Ctrl-Z: gives the terminal back, stops the process, and goes on raw when it is continued.
  void suspend();

 private:
  void enter();
  void leave();
};

class LineEditor {
 public:
  enum class Result { line, end_of_input, interrupted };
  /// Words that could complete the text before the cursor (the whole of it), for Tab.
  using Completer = std::function<std::vector<std::string>(const std::string&)>;

  LineEditor(History& history, Completer completer);

  /// Shows `prompt` and edits. `line` may have several lines when text was pasted, or Alt-Enter was typed.
  /// `interrupted`: Ctrl-C; `end_of_input`: Ctrl-D on an empty line, or the terminal is gone.
  Result read(const std::string& prompt, std::string& line);

  /// Bytes that were typed while nobody read: they come first in the next read().
  void type_ahead(std::string_view bytes) { ahead_ += bytes; }

 private:
  enum class Key {
    character,
    enter,
    newline,
    left,
    right,
    up,
    down,
    home,
    end,
    word_left,
    word_right,
    erase,
    erase_forward,
    erase_word,
    erase_word_forward,
    erase_to_end,
    erase_to_home,
    yank,
    clear,
    tab,
    interrupt,
    end_of_input,
    suspend,
    paste,
    gone,
    none
  };

  Key next_key();
  Key escape_key();
  Key csi_key();
  void read_paste();
  /// The next byte, or -1: the end, or nothing within `timeout_ms` (negative: for ever).
  int next_byte(int timeout_ms);

  void history_step(int direction);
  void complete();
  void draw(bool final = false);

  History& history_;
  Completer completer_;
  std::string ahead_;
  std::size_t ahead_position_ = 0;

  LineBuffer buffer_;
  std::string prompt_, typed_;  // typed_: the bytes of the last character or paste
  std::size_t history_position_ = 0;
  std::string unfinished_;  // the line that was being typed when history was entered
  int cursor_row_ = 0;      // where the last draw() left the cursor, in rows below the prompt's
};

}  // namespace moebox::cli

#include "cli/line_editor.h"

#include <algorithm>
#include <cerrno>

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/interrupts.h"

namespace moebox::cli {
namespace {

constexpr int escape_wait_ms = 50;  // a lone Escape key sends nothing more
constexpr std::size_t longest_paste = std::size_t{16} << 20;
constexpr std::string_view paste_on = "\033[?2004h", paste_off = "\033[?2004l";

/// The terminal as it was when the program began.
const termios& original_terminal() {
  static const termios saved = [] {
    termios state{};
    ::tcgetattr(STDIN_FILENO, &state);
    return state;
  }();
  return saved;
}

void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return;
  }
}

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/// Where the cursor of a terminal goes when text is written.
struct Cells {
  int columns, row = 0, column = 0;

  void feed() {
    ++row;
    column = 0;
  }
  void advance(int width) {
    if (column + width > columns) feed();  // a wide character does not fit the last column
    column += width;
  }
};

}  // namespace

RawMode::RawMode() {
  restore_terminal_at_end(&original_terminal());
  enter();
}

RawMode::~RawMode() { leave(); }

void RawMode::enter() {
  termios raw = original_terminal();
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void RawMode::leave() { ::tcsetattr(STDIN_FILENO, TCSADRAIN, &original_terminal()); }

void RawMode::suspend() {
  leave();
  ::kill(0, SIGTSTP);
  enter();
}

LineEditor::LineEditor(History& history, Completer completer) : history_(history), completer_(std::move(completer)) {}

int LineEditor::next_byte(int timeout_ms) {
  if (ahead_position_ < ahead_.size()) return static_cast<unsigned char>(ahead_[ahead_position_++]);
  ahead_.clear();
  ahead_position_ = 0;
  for (;;) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const int ready = ::poll(&input, 1, timeout_ms);
    if (ready == 0) return -1;
    if (ready < 0) {
      if (errno == EINTR && timeout_ms < 0) return 0x03;  // SIGINT from elsewhere is as Ctrl-C
      continue;
    }
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    ahead_.assign(bytes, static_cast<std::size_t>(n));
    ahead_position_ = 1;
    return static_cast<unsigned char>(bytes[0]);
  }
}

LineEditor::Key LineEditor::next_key() {
  const int byte = next_byte(-1);
  switch (byte) {
    case -1:
      return Key::gone;
    case 0x01:
      return Key::home;
    case 0x02:
      return Key::left;
    case 0x03:
      return Key::interrupt;
    case 0x04:
      return Key::end_of_input;
    case 0x05:
      return Key::end;
    case 0x06:
      return Key::right;
    case 0x08:
    case 0x7f:
      return Key::erase;
    case 0x09:
      return Key::tab;
    case 0x0a:
    case 0x0d:
      return Key::enter;
    case 0x0b:
      return Key::erase_to_end;
    case 0x0c:
      return Key::clear;
    case 0x0e:
      return Key::down;
    case 0x10:
      return Key::up;
    case 0x15:
      return Key::erase_to_home;
    case 0x17:
      return Key::erase_word;
    case 0x19:
      return Key::yank;
    case 0x1a:
      return Key::suspend;
    case 0x1b:
      return escape_key();
    default:
      break;
  }
  if (byte < 0x20) return Key::none;
  typed_.assign(1, static_cast<char>(byte));
  const int following = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
  for (int i = 0; i < following; ++i) {
    const int next = next_byte(escape_wait_ms);
    if (next < 0) break;
    typed_ += static_cast<char>(next);
  }
  return Key::character;
}

LineEditor::Key LineEditor::escape_key() {
  switch (next_byte(escape_wait_ms)) {
    case '[':
      return csi_key();
    case 'O':
      switch (next_byte(escape_wait_ms)) {
        case 'A':
          return Key::up;
        case 'B':
          return Key::down;
        case 'C':
          return Key::right;
        case 'D':
          return Key::left;
        case 'H':
          return Key::home;
        case 'F':
          return Key::end;
        default:
          return Key::none;
      }
    case 'b':
      return Key::word_left;
    case 'f':
      return Key::word_right;
    case 'd':
      return Key::erase_word_forward;
    case 0x08:
    case 0x7f:
      return Key::erase_word;
    case 0x0a:
    case 0x0d:
      return Key::newline;
    default:
      return Key::none;
  }
}

LineEditor::Key LineEditor::csi_key() {
  std::string parameters;
  int final = next_byte(escape_wait_ms);
  while (final >= 0x20 && final < 0x40 && parameters.size() < 32) {
    parameters += static_cast<char>(final);
    final = next_byte(escape_wait_ms);
  }
  const bool with_control = parameters.size() >= 2 && (parameters.ends_with(";5") || parameters.ends_with(";3"));
  switch (final) {
    case 'A':
      return Key::up;
    case 'B':
      return Key::down;
    case 'C':
      return with_control ? Key::word_right : Key::right;
    case 'D':
      return with_control ? Key::word_left : Key::left;
    case 'H':
      return Key::home;
    case 'F':
      return Key::end;
    case '~':
      if (parameters == "1" || parameters == "7") return Key::home;
      if (parameters == "4" || parameters == "8") return Key::end;
      if (parameters == "3") return Key::erase_forward;
      if (parameters == "200") {
        read_paste();
        return Key::paste;
      }
      return Key::none;
    default:
      return Key::none;
  }
}

void LineEditor::read_paste() {
  constexpr std::string_view end_mark = "\033[201~";
  typed_.clear();
  while (typed_.size() < longest_paste) {
    const int byte = next_byte(5000);
    if (byte < 0) return;
    typed_ += static_cast<char>(byte == 0x0d ? 0x0a : byte);
    if (typed_.ends_with(end_mark)) {
      typed_.resize(typed_.size() - end_mark.size());
      return;
    }
  }
}

void LineEditor::history_step(int direction) {
  const auto& entries = history_.entries();
  if (direction < 0 ? history_position_ == 0 : history_position_ == entries.size()) return;
  if (history_position_ == entries.size()) unfinished_ = buffer_.text();
  history_position_ += direction < 0 ? std::size_t(-1) : 1;
  buffer_.set(history_position_ == entries.size() ? unfinished_ : entries[history_position_]);
}

void LineEditor::complete() {
  if (!completer_ || buffer_.cursor() != buffer_.text().size()) return;
  const std::vector<std::string> words = completer_(buffer_.text());
  if (words.empty()) return;
  std::string common = words.front();
  for (const std::string& word : words) {
    const auto differ = std::mismatch(common.begin(), common.end(), word.begin(), word.end());
    common.erase(differ.first, common.end());
  }
  if (words.size() == 1) common += ' ';
  if (common.size() > buffer_.text().size()) {
    buffer_.set(common);
  } else if (words.size() > 1) {
    std::string list;
    for (const std::string& word : words) list += word + "  ";
    draw(true);
    put(list + "\r\n");
    cursor_row_ = 0;
  }
}

void LineEditor::draw(bool final) {
  const int columns = terminal_columns();
  std::string screen = cursor_row_ > 0 ? fmt::format("\r\033[{}A\033[J", cursor_row_) : "\r\033[J";
  Cells cells{columns};
  Cells cursor{columns};
  const auto write = [&](std::string_view text, bool editable) {
    for (std::size_t i = 0; i < text.size();) {
      if (editable && i == buffer_.cursor()) cursor = cells;
      const std::size_t bytes = character_bytes(text, i);
      const std::string_view character = text.substr(i, bytes);
      if (character == "\n") {
        cells.feed();
        screen += "\r\n";
      } else if (character == "\t") {
        cells.advance(1);
        screen += ' ';
      } else {
        cells.advance(character_width(character));
        screen += character;
      }
      i += bytes;
    }
  };
  write(prompt_, false);
  write(buffer_.text(), true);
  if (buffer_.cursor() == buffer_.text().size()) cursor = cells;
  const auto wrap = [&](Cells& position) {
    if (position.column < columns) return false;
    position.feed();
    return true;
  };
  // A terminal keeps the cursor on a full line until something follows.
  if (wrap(cells)) screen += "\r\n";
  wrap(cursor);
  if (final) {
    screen += "\r\n";
  } else {
    if (cells.row > cursor.row) screen += fmt::format("\033[{}A", cells.row - cursor.row);
    screen += '\r';
    if (cursor.column > 0) screen += fmt::format("\033[{}C", cursor.column);
  }
  cursor_row_ = final ? 0 : cursor.row;
  put(screen);
}

LineEditor::Result LineEditor::read(const std::string& prompt, std::string& line) {
  RawMode raw;
  prompt_ = prompt;
  buffer_.set("");
  history_position_ = history_.entries().size();
  cursor_row_ = 0;
  put(paste_on);
  draw();
  const auto finish = [&](Result result) {
    buffer_.set(buffer_.text());
    draw(true);
    put(paste_off);
    line = buffer_.text();
    return result;
  };
  for (;;) {
    switch (next_key()) {
      case Key::enter:
        return finish(Result::line);
      case Key::interrupt:
        return finish(Result::interrupted);
      case Key::gone:
        return finish(Result::end_of_input);
      case Key::end_of_input:
        if (buffer_.empty()) return finish(Result::end_of_input);
        buffer_.erase_after();
        break;
      case Key::character:
      case Key::paste:
        buffer_.insert(typed_);
        break;
      case Key::newline:
        buffer_.insert("\n");
        break;
      case Key::left:
        buffer_.left();
        break;
      case Key::right:
        buffer_.right();
        break;
      case Key::word_left:
        buffer_.word_left();
        break;
      case Key::word_right:
        buffer_.word_right();
        break;
      case Key::home:
        buffer_.home();
        break;
      case Key::end:
        buffer_.end();
        break;
      case Key::up:
        history_step(-1);
        break;
      case Key::down:
        history_step(1);
        break;
      case Key::erase:
        buffer_.erase_before();
        break;
      case Key::erase_forward:
        buffer_.erase_after();
        break;
      case Key::erase_word:
        buffer_.erase_word_before();
        break;
      case Key::erase_word_forward:
        buffer_.erase_word_after();
        break;
      case Key::erase_to_end:
        buffer_.erase_to_end();
        break;
      case Key::erase_to_home:
        buffer_.erase_to_home();
        break;
      case Key::yank:
        buffer_.yank();
        break;
      case Key::tab:
        complete();
        break;
      case Key::clear:
        put("\033[H\033[2J");
        cursor_row_ = 0;
        break;
      case Key::suspend:
        put(paste_off);
        raw.suspend();
        put(paste_on);
        cursor_row_ = 0;
        break;
      case Key::none:
        break;
    }
    // Redrawing can wait while more is there to read: a long paste is drawn once.
    if (ahead_position_ >= ahead_.size()) draw();
  }
}

}  // namespace moebox::cli

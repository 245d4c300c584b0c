// The three standard streams as this program uses them: data on stdout, everything else on stderr; colour only where a
// person looks. Not the line editor, and nothing of what is said.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moebox::cli {

/// The reader of stdout went away (`moebox list | head -1`): the program ends quietly.
struct OutputClosed {};

enum class ColourMode { automatic, always, never };

class Console {
 public:
  /// Looks at the streams and at NO_COLOR and TERM.
  Console();

  void set_colour(ColourMode mode);
  /// Nothing but errors goes to stderr from now on.
  void set_quiet(bool quiet) { quiet_ = quiet; }

  bool input_is_terminal() const { return input_is_terminal_; }
  bool output_is_terminal() const { return output_is_terminal_; }
  bool error_is_terminal() const { return error_is_terminal_; }
  /// A terminal that understands cursor movement, on both sides.
  bool can_edit() const { return input_is_terminal_ && output_is_terminal_ && !dumb_; }
  bool can_redraw_error() const { return error_is_terminal_ && !dumb_; }
  bool colour_output() const { return colour_output_; }
  bool quiet() const { return quiet_; }
  /// Columns of the terminal; 80 where it does not say.
  int columns() const;

  /// Data. Throws OutputClosed when nobody reads any more, Error(io) when it cannot be written.
  void out(std::string_view text) const;
  /// Everything else; failures are ignored, `quiet` is respected.
  void note(std::string_view text) const;
  /// A note in a faint colour.
  void dim(std::string_view text) const;
  /// An error, even when quiet.
  void error(std::string_view text) const;

  /// `text` in bold, or faint, when stdout has colour.
  std::string bold(std::string_view text) const;
  std::string faint(std::string_view text) const;

 private:
  bool input_is_terminal_, output_is_terminal_, error_is_terminal_, dumb_;
  bool colour_output_ = false, colour_error_ = false, quiet_ = false;
};

/// Text that came from a model or a file, safe for a terminal: control characters other than line feed and tab become
/// U+FFFD.
std::string printable(std::string_view text);

/// "1.2 GB", "103 MB", "12 kB": decimal units.
std::string bytes_text(std::uint64_t bytes);

/// All of stdin, or of the file `path` ("-" is stdin), up to `limit_bytes`. Throws Error: not_found, io, resource.
std::string read_all(const std::string& path, std::size_t limit_bytes = std::size_t{64} << 20);

/// Columns that a UTF-8 text takes on a terminal.
int display_width(std::string_view text);
/// `text` followed by blanks up to `columns`.
std::string pad_right(std::string_view text, int columns);
/// `text` after blanks up to `columns`.
std::string pad_left(std::string_view text, int columns);

}  // namespace moebox::cli

#include "cli/console.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/error.h"

namespace moebox::cli {
namespace {

/// Writes all of it; 0 or the error number.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      pollfd wait{fd, POLLOUT, 0};
      ::poll(&wait, 1, -1);
    } else if (n < 0 && errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

bool set_and_not_empty(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

}  // namespace

Console::Console()
    : input_is_terminal_(::isatty(STDIN_FILENO) == 1),
      output_is_terminal_(::isatty(STDOUT_FILENO) == 1),
      error_is_terminal_(::isatty(STDERR_FILENO) == 1) {
  const char* term = std::getenv("TERM");
  dumb_ = term == nullptr || *term == '\0' || std::strcmp(term, "dumb") == 0;
  set_colour(ColourMode::automatic);
}

void Console::set_colour(ColourMode mode) {
  const bool wanted =
      mode == ColourMode::always || (mode == ColourMode::automatic && !dumb_ && !set_and_not_empty("NO_COLOR"));
  colour_output_ = wanted && (output_is_terminal_ || mode == ColourMode::always);
  colour_error_ = wanted && (error_is_terminal_ || mode == ColourMode::always);
}

int Console::columns() const {
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 80;
}

void Console::out(std::string_view text) const {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == EPIPE) throw OutputClosed{};
  if (error != 0)
    throw Error(ErrorKind::io, fmt::format("could not be written: {}", std::strerror(error)), "standard output");
}

void Console::note(std::string_view text) const {
  if (!quiet_) write_all(STDERR_FILENO, text);
}

void Console::dim(std::string_view text) const {
  note(colour_error_ ? fmt::format("\033[2m{}\033[0m", text) : std::string(text));
}

void Console::error(std::string_view text) const { write_all(STDERR_FILENO, text); }

std::string Console::bold(std::string_view text) const {
  return colour_output_ ? fmt::format("\033[1m{}\033[0m", text) : std::string(text);
}

std::string Console::faint(std::string_view text) const {
  return colour_output_ ? fmt::format("\033[2m{}\033[0m", text) : std::string(text);
}

std::string printable(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c0 || c1) safe += "\xef\xbf\xbd";
    if (c1) ++i;
    if (!c0 && !c1) safe += text[i];
  }
  return safe;
}

std::string bytes_text(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (value < 999.5e3) return fmt::format("{:.0f} kB", value / 1e3);
  if (value < 999.5e6) return fmt::format("{:.0f} MB", value / 1e6);
  if (value < 99.95e9) return fmt::format("{:.1f} GB", value / 1e9);
  return fmt::format("{:.0f} GB", value / 1e9);
}

std::string read_all(const std::string& path, std::size_t limit_bytes) {
  const bool standard = path == "-";
  const int fd = standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw Error(errno == ENOENT ? ErrorKind::not_found : ErrorKind::io,
                fmt::format("could not be opened: {}", std::strerror(errno)), path);
  }
  std::string text, problem;
  bool too_long = false;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      problem = std::strerror(errno);
      break;
    }
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > limit_bytes) {
      too_long = true;
      break;
    }
  }
  if (!standard) ::close(fd);
  const std::string where = standard ? "standard input" : path;
  if (!problem.empty()) throw Error(ErrorKind::io, fmt::format("could not be read: {}", problem), where);
  if (too_long) throw Error(ErrorKind::resource, fmt::format("at most {} are read", bytes_text(limit_bytes)), where);
  return text;
}

int display_width(std::string_view text) {
  int width = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t n = utf8proc_iterate(bytes, left, &code);
    const utf8proc_ssize_t step = n > 0 ? n : 1;
    width += n > 0 ? utf8proc_charwidth(code) : 1;
    bytes += step;
    left -= step;
  }
  return width;
}

std::string pad_right(std::string_view text, int columns) {
  const int rest = columns - display_width(text);
  return std::string(text) + std::string(rest > 0 ? static_cast<std::size_t>(rest) : 0, ' ');
}

std::string pad_left(std::string_view text, int columns) {
  const int rest = columns - display_width(text);
  return std::string(rest > 0 ? static_cast<std::size_t>(rest) : 0, ' ') + std::string(text);
}

}  // namespace moebox::cli

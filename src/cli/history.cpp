// The history file of the line editor.
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/console.h"
#include "cli/line_editor.h"

namespace moebox::cli {
namespace {

constexpr std::size_t most_entries = 1000;
constexpr std::size_t most_bytes = std::size_t{4} << 20;

std::string escaped(const std::string& entry) {
  std::string line;
  for (const char c : entry) {
    if (c == '\\') {
      line += "\\\\";
    } else if (c == '\n') {
      line += "\\n";
    } else {
      line += c;
    }
  }
  return line;
}

std::string unescaped(std::string_view line) {
  std::string entry;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      entry += line[++i] == 'n' ? '\n' : line[i];
    } else {
      entry += line[i];
    }
  }
  return entry;
}

void write_file(const std::string& path, const std::string& text, int flags) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t n = ::write(fd, text.data(), text.size());
  ::close(fd);
}

}  // namespace

History::History(std::string path) : path_(std::move(path)) {
  if (path_ == "off") path_.clear();
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  std::string text;
  try {
    text = read_all(path_, most_bytes);
  } catch (const Error&) {
    return;  // none yet, or not readable: a chat works without
  }
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    LineBuffer clean;  // the file may hold anything
    clean.insert(unescaped(std::string_view(text).substr(begin, end - begin)));
    if (!clean.empty()) entries_.push_back(clean.text());
    begin = end + 1;
  }
  if (entries_.size() <= most_entries) return;
  entries_.erase(entries_.begin(), entries_.end() - static_cast<std::ptrdiff_t>(most_entries));
  std::string kept;
  for (const std::string& entry : entries_) kept += escaped(entry) + "\n";
  write_file(path_, kept, O_TRUNC);
}

void History::add(const std::string& entry) {
  if (entry.find_first_not_of(" \t\n") == std::string::npos || (!entries_.empty() && entries_.back() == entry)) return;
  entries_.push_back(entry);
  if (!path_.empty()) write_file(path_, escaped(entry) + "\n", O_APPEND);
}

}  // namespace moebox::cli

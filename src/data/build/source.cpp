#include "data/build/source.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array code_endings = {
    ".asm",   ".bash", ".c",    ".cc",   ".clj", ".cmake", ".cpp", ".cs",  ".css",   ".cu",   ".cxx",  ".dart", ".el",
    ".erl",   ".ex",   ".f90",  ".fs",   ".go",  ".h",     ".hh",  ".hpp", ".hs",    ".html", ".java", ".jl",   ".js",
    ".jsx",   ".kt",   ".less", ".lisp", ".lua", ".m",     ".md",  ".ml",  ".mm",    ".nim",  ".pas",  ".php",  ".pl",
    ".proto", ".ps1",  ".py",   ".r",    ".rb",  ".rs",    ".rst", ".s",   ".scala", ".scm",  ".scss", ".sh",   ".sql",
    ".swift", ".tcl",  ".tex",  ".toml", ".ts",  ".tsx",   ".v",   ".vb",  ".vhd",   ".vue",  ".yaml", ".yml",  ".zig"};
constexpr std::array foreign_folders = {"node_modules", "vendor", "third_party", "__pycache__",
                                        "target",       "dist",   "build"};

template <std::size_t n>
bool is_one_of(const std::array<const char*, n>& list, const std::string& text) {
  return std::ranges::any_of(list, [&](const char* one) { return text == one; });
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

void add_folder(const fs::path& folder, bool code, std::vector<fs::path>& files) {
  auto entry = fs::recursive_directory_iterator(folder);
  for (; entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().filename().string();
    const bool hidden = name.starts_with('.');
    if (entry->is_symlink()) continue;  // nothing outside the folder, nothing twice
    if (entry->is_directory()) {
      if (hidden || (code && is_one_of(foreign_folders, name))) entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && !hidden) {
      const std::string ending = lower(entry->path().extension().string());
      if (!code || is_one_of(code_endings, ending) || name == "Makefile" || name == "Dockerfile")
        files.push_back(entry->path());
    }
  }
}

/// Reads a file in order, in blocks; lines and texts are taken from what has been read.
class BlockReader {
 public:
  explicit BlockReader(const fs::path& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status;
    if (fd_ < 0 || ::fstat(fd_, &status) != 0) fail(errno);
    if (!S_ISREG(status.st_mode)) {
      ::close(fd_);
      throw Error(ErrorKind::io, "expected a regular file", path.string());
    }
  }
  ~BlockReader() { ::close(fd_); }
  BlockReader(const BlockReader&) = delete;
  BlockReader& operator=(const BlockReader&) = delete;

  /// What has been read and not been taken.
  std::string_view buffered() const noexcept { return std::string_view(buffer_).substr(begin_); }
  /// Reads on; false at the end of the file.
  bool read_more() {
    if (at_end_) return false;
    if (begin_ > 0) {
      buffer_.erase(0, begin_);
      begin_ = 0;
    }
    constexpr std::size_t block_bytes = std::size_t{1} << 20;
    const std::size_t old = buffer_.size();
    buffer_.resize(old + block_bytes);
    ssize_t n = 0;
    do {
      n = ::read(fd_, buffer_.data() + old, block_bytes);
    } while (n < 0 && errno == EINTR);
    if (n < 0) fail(errno);
    buffer_.resize(old + static_cast<std::size_t>(n));
    n_read_ += static_cast<std::uint64_t>(n);
    at_end_ = n == 0;
    return n > 0;
  }
  void take(std::size_t n_bytes) noexcept { begin_ += n_bytes; }
  std::uint64_t n_read() const noexcept { return n_read_; }

 private:
  [[noreturn]] void fail(int error) const {
    throw Error(error == ENOENT ? ErrorKind::not_found : ErrorKind::io,
                std::string("cannot be read: ") + std::strerror(error), path_.string());
  }

  fs::path path_;
  int fd_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::uint64_t n_read_ = 0;
  bool at_end_ = false;
};

/// What all formats of text share: one file after the other.
class FileReader : public RecordReader {
 public:
  FileReader(const SourceOptions& source, const RecordLimits& limits) : source_(source), limits_(limits) {}

  bool next(Record& record) override {
    while (file_ < source_.files.size()) {
      if (!reader_) {
        reader_ = std::make_unique<BlockReader>(source_.files[file_]);
        line_ = 1;
        begin_file();
      }
      record = {};
      record.file = file_;
      record.line = line_;
      if (read(record)) return true;
      n_before_ += reader_->n_read();
      reader_.reset();
      ++file_;
    }
    return false;
  }
  std::uint64_t bytes_read() const noexcept override { return n_before_ + (reader_ ? reader_->n_read() : 0); }

 protected:
  virtual void begin_file() {}
  /// The next record of this file; false at its end.
  virtual bool read(Record& record) = 0;

  /// The length of the next line, with its line feed; npos when it is longer than `most`. 0 at the end of the file.
  std::size_t line_length(std::size_t most) {
    for (std::size_t seen = 0;;) {
      const std::string_view text = reader_->buffered();
      const auto end = text.find('\n', seen);
      if (end != std::string_view::npos) return end < most ? end + 1 : std::string_view::npos;
      seen = text.size();
      if (seen > most) return std::string_view::npos;
      if (!reader_->read_more()) return reader_->buffered().size();
    }
  }

  /// Passes over the rest of a line, and gives its bytes.
  std::int64_t pass_over_line() {
    std::int64_t n_bytes = 0;
    for (;;) {
      const std::string_view text = reader_->buffered();
      const auto end = text.find('\n');
      const std::size_t taken = end == std::string_view::npos ? text.size() : end + 1;
      n_bytes += static_cast<std::int64_t>(taken);
      reader_->take(taken);
      if (end != std::string_view::npos || !reader_->read_more()) break;
    }
    ++line_;
    return n_bytes;
  }

  const SourceOptions source_;
  const RecordLimits limits_;
  std::unique_ptr<BlockReader> reader_;
  std::int64_t line_ = 1;

 private:
  std::size_t file_ = 0;
  std::uint64_t n_before_ = 0;
};

/// Every line is a record, without its line end.
class LineReader final : public FileReader {
 public:
  using FileReader::FileReader;

 private:
  bool read(Record& record) override {
    const std::size_t length = line_length(limits_.line_bytes);
    if (length == 0) return false;
    if (length == std::string_view::npos) {
      record.dropped = "line_too_long";
      record.dropped_bytes = pass_over_line();
      return true;
    }
    std::string_view line = reader_->buffered().substr(0, length);
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    record.bytes = line;
    reader_->take(length);
    ++line_;
    return true;
  }
};

/// Whole files, or the parts between blank lines; in pieces where they are long.
class TextReader final : public FileReader {
 public:
  using FileReader::FileReader;

 private:
  void begin_file() override { cut_ = false; }

  bool read(Record& record) override {
    if (source_.unit == TextUnit::blank_line && !cut_) pass_over_blank_lines(record);
    const std::size_t most = limits_.document_bytes;
    std::size_t end = find_end(most);
    const bool is_cut = end == std::string_view::npos;
    if (is_cut) end = cut_place(reader_->buffered(), most);
    if (end == 0) return take_empty_file(record);
    record.bytes = reader_->buffered().substr(0, end);
    record.cut = is_cut || cut_;
    cut_ = is_cut;
    given_ = true;
    line_ += std::count(record.bytes.begin(), record.bytes.end(), '\n');
    reader_->take(end);
    return true;
  }

  /// Where the next document ends; npos when that is beyond `most` bytes.
  std::size_t find_end(std::size_t most) {
    for (std::size_t seen = 0;;) {
      const std::string_view text = reader_->buffered();
      if (source_.unit == TextUnit::blank_line) {
        const auto blank = find_blank_line(text, seen > 3 ? seen - 3 : 0);
        if (blank != std::string_view::npos && blank <= most) return blank;
      }
      if (text.size() > most) return std::string_view::npos;
      seen = text.size();
      if (!reader_->read_more()) return reader_->buffered().size();
    }
  }

  /// The end of the line before the first blank one.
  static std::size_t find_blank_line(std::string_view text, std::size_t from) {
    for (auto at = text.find('\n', from); at != std::string_view::npos; at = text.find('\n', at + 1)) {
      const std::string_view rest = text.substr(at + 1);
      if (rest.starts_with('\n') || rest.starts_with("\r\n")) return at + 1;
    }
    return std::string_view::npos;
  }

  void pass_over_blank_lines(Record& record) {
    for (;;) {
      std::string_view text = reader_->buffered();
      if (text.size() < 2 && reader_->read_more()) continue;
      text = reader_->buffered();
      const std::size_t length = text.starts_with("\r\n") ? 2 : text.starts_with('\n') ? 1 : 0;
      if (length == 0) break;
      reader_->take(length);
      ++line_;
    }
    record.line = line_;
  }

  /// A file without a byte is a document, which will be dropped as empty and counted.
  bool take_empty_file(Record&) {
    if (given_ || source_.unit != TextUnit::file || reader_->n_read() > 0) {
      given_ = false;
      return false;
    }
    given_ = true;
    return true;
  }

  bool cut_ = false, given_ = false;
};

}  // namespace

std::vector<fs::path> find_files(const std::string& pattern, bool code) {
  std::vector<fs::path> files;
  std::vector<fs::path> roots;
  std::error_code ignored;
  if (fs::exists(pattern, ignored)) {
    roots.emplace_back(pattern);
  } else {
    glob_t found{};
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) roots.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    ::globfree(&found);
  }
  try {
    for (const fs::path& root : roots) {
      if (fs::is_directory(root)) {
        add_folder(root, code, files);
      } else {
        files.push_back(root);
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::io, error.code().message(), error.path1().string());
  }
  std::ranges::sort(files);
  if (files.empty())
    throw Error(ErrorKind::not_found, "there is no such file", pattern,
                code ? "of folders, files with the endings of source code are taken" : "check the path");
  return files;
}

SourceFormat format_of(const fs::path& file) {
  const std::string ending = lower(file.extension().string());
  if (ending == ".jsonl" || ending == ".ndjson") return SourceFormat::jsonl;
  return ending == ".parquet" ? SourceFormat::parquet : SourceFormat::text;
}

std::size_t cut_place(std::string_view text, std::size_t most) noexcept {
  const std::string_view head = text.substr(0, most);
  for (const char border : {'\n', ' '}) {
    const auto at = head.rfind(border);
    if (at != std::string_view::npos && at >= most / 2) return at + 1;
  }
  std::size_t at = most;
  for (int back = 0; back < 3 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; ++back) --at;
  return at;
}

std::unique_ptr<RecordReader> read_records(const SourceOptions& source, const RecordLimits& limits) {
  if (source.format == SourceFormat::jsonl || (source.format == SourceFormat::text && source.unit == TextUnit::line))
    return std::make_unique<LineReader>(source, limits);
  if (source.format == SourceFormat::parquet)
    throw Error(ErrorKind::internal, "Parquet is read by the program moebox-data alone");
  return std::make_unique<TextReader>(source, limits);
}

}  // namespace moebox::data

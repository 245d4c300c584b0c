// A file that is there whole or not at all: written under a temporary name beside its own, made durable, renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace moebox {

/// Until commit() the file has no name, and is gone when the process ends, however that ends. Where the file system
/// knows no such files it is called "<path>.<process>.tmp", and the destructor removes it.
class OutputFile {
 public:
  /// Throws Error(io), or Error(invalid_argument) when `path` is there and not to be replaced, or is no
  /// regular file.
  OutputFile(const std::filesystem::path& path, bool replace);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Takes the disk space of the whole file now, where the file system can: a disk that is too small is told before the
  /// work. Throws Error(io).
  void reserve(std::uint64_t n_bytes);
  /// Appends. Throws Error(io) that names the file.
  void write(std::span<const std::byte> bytes);
  std::uint64_t written_bytes() const noexcept { return written_; }
  /// Makes the content durable and gives the file its name. Throws Error(io), or Error(invalid_argument) when somebody
  /// else has made a file of that name meanwhile and it is not to be replaced.
  void commit();

 private:
  template <class Make>
  void take_temporary_name(Make make);
  void rename_into_place();

  std::filesystem::path path_, temporary_;
  bool replace_;
  bool has_name_ = false;
  int fd_ = -1;
  std::uint64_t written_ = 0, reserved_ = 0;
};

}  // namespace moebox

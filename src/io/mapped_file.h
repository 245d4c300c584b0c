// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace moebox {

/// Owns a private, read-only mapping of a regular file. Whoever cuts the file while it is mapped makes the process
/// fault (SIGBUS), as with every mapping: programs that replace model files should rename a new one into place.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error(not_found) or Error(io). Folders, pipes and devices are refused; an empty file is an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  /// Maps a file that is open for reading; `path` is its name in errors. The descriptor stays the caller's.
  MappedFile(int descriptor, const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// When the content was changed last, as of the mapping: nanoseconds since 1970.
  std::int64_t modified_ns() const noexcept { return modified_ns_; }

  /// Lets the kernel take back the whole pages inside `part`, which lies in bytes(). The content stays readable: a
  /// later access reads it from the file again.
  void release(std::span<const std::byte> part) const noexcept;
  /// Tells the kernel that pieces of `part` are read here and there: it then reads what is wanted and not what lies
  /// around it, which is megabytes on some disks.
  void expect_random_reads(std::span<const std::byte> part) const noexcept;
  /// Begins to read `part` of any mapping, where it is not in memory, and does not wait.
  static void prefetch(std::span<const std::byte> part) noexcept;

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  std::int64_t modified_ns_ = 0;
};

}  // namespace moebox

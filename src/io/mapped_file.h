// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace moebox {

/// Owns a private, read-only mapping of a regular file. Whoever cuts the file while it is mapped makes the process
/// fault (SIGBUS), as with every mapping: programs that replace model files should rename a new one into place.
class MappedFile {
 public:
  /// Throws Error(not_found) or Error(io). Folders, pipes and devices are refused; an empty file is an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// Lets the kernel take back the whole pages inside `part`, which lies in bytes(). The content stays readable: a
  /// later access reads it from the file again.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace moebox

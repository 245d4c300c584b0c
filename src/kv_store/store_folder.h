// The folder of a KV store: that it is ours, that nobody else uses it, and the salt of its names and keys.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "kv_store/secrets.h"

namespace moebox {

class StoreFolder {
 public:
  using Salt = std::array<std::byte, StoreSecrets::salt_bytes>;

  /// Makes the folder (0700) where it is not there, but not those above it. Throws Error: io when it cannot be made,
  /// read or written, resource when another process uses it, invalid_argument when it is no folder, belongs to
  /// somebody else, or may be written by others.
  explicit StoreFolder(const std::filesystem::path& path);
  ~StoreFolder();
  StoreFolder(const StoreFolder&) = delete;
  StoreFolder& operator=(const StoreFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  /// For openat(): what becomes of the name does not matter.
  int descriptor() const noexcept { return fd_; }
  const Salt& salt() const noexcept { return salt_; }
  /// Of all files but the lock and the salt.
  std::vector<std::string> names() const;

 private:
  void open_checked();
  void lock();
  void load_salt();
  void write_salt();
  [[noreturn]] void fail(const char* what, const char* file = nullptr) const;

  std::filesystem::path path_;
  int fd_ = -1, lock_fd_ = -1;
  Salt salt_{};
};

}  // namespace moebox

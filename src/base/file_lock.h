// A lock between processes and threads: flock(2) on a file of its own, which goes away with the lock.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

namespace moebox {

/// Held from acquire() to destruction. A child that inherits fd() keeps it held after the parent dies.
class FileLock {
 public:
  /// Waits until the lock is ours; calls `waiting` about five times a second meanwhile (it may throw to give up).
  static FileLock acquire(const std::filesystem::path& path, const std::function<void()>& waiting = {});
  /// Nothing when another holds it.
  static std::optional<FileLock> try_acquire(const std::filesystem::path& path);

  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) = delete;

  int fd() const noexcept { return fd_; }

 private:
  FileLock(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace moebox

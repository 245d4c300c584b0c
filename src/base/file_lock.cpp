#include "base/file_lock.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw Error(ErrorKind::io, std::string(what) + ": " + std::strerror(errno), path.string());
}

/// Whether the open file is still the one that the name stands for: the previous holder removes it when it lets go.
bool is_current(int fd, const std::filesystem::path& path) {
  struct stat opened{}, named{};
  if (fstat(fd, &opened) != 0) fail(path, "the lock cannot be examined");
  return stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

}  // namespace

std::optional<FileLock> FileLock::try_acquire(const std::filesystem::path& path) {
  while (true) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) fail(path, "the lock cannot be opened");
    FileLock lock({}, fd);  // no path yet: closing must not remove another's file
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      if (errno == EINTR) continue;
      fail(path, "the file system offers no locks");
    }
    if (!is_current(fd, path)) continue;
    lock.path_ = path;
    return lock;
  }
}

FileLock FileLock::acquire(const std::filesystem::path& path, const std::function<void()>& waiting) {
  while (true) {
    if (auto lock = try_acquire(path)) return std::move(*lock);
    if (waiting) waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

FileLock::FileLock(FileLock&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  if (!path_.empty()) unlink(path_.c_str());
  close(fd_);
}

}  // namespace moebox

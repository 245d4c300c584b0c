#include "io/output_file.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_io(const char* what, int error, const fs::path& path) {
  const bool full = error == ENOSPC || error == EDQUOT;
  throw Error(ErrorKind::io, std::string(what) + ": " + std::strerror(error), path.string(),
              full ? "make room on the disk, or write to another one; nothing is left of this attempt" : "");
}

[[noreturn]] void throw_exists(const fs::path& path) {
  throw Error(ErrorKind::invalid_argument, "is there already", path.string(),
              "give another name, or say that it may be replaced");
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

fs::path temporary_name(const fs::path& path, int n) {
  fs::path name = path;
  name += "." + std::to_string(::getpid()) + (n == 0 ? "" : "." + std::to_string(n)) + ".tmp";
  return name;
}

/// A file without a name, which the system forgets when the process ends, however that ends; it gets its name through
/// /proc. -1 where the file system or the system has no such thing.
int open_nameless(const fs::path& folder) noexcept {
  if (::access("/proc/self/fd", X_OK) != 0) return -1;
  return ::open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
}

/// Gives a nameless file a name that is not taken yet.
bool link_nameless(int fd, const fs::path& path) noexcept {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return ::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

/// The new name is in the folder after a crash as well.
void sync_folder(const fs::path& folder) noexcept {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);  // a file system that cannot is as durable as it gets
  ::close(fd);
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, bool replace) : path_(path), replace_(replace) {
  std::error_code none;
  const fs::file_status found = fs::status(path_, none);
  if (fs::is_directory(found)) throw Error(ErrorKind::invalid_argument, "is a folder, expected a file", path_.string());
  if (fs::exists(found) && !fs::is_regular_file(found))  // the new file would take a device's or a pipe's name
    throw Error(ErrorKind::invalid_argument, "is a device, a pipe or a socket, expected a file", path_.string());
  if (fs::exists(found) && !replace) throw_exists(path_);
  fd_ = open_nameless(folder_of(path_));
  if (fd_ >= 0) return;
  take_temporary_name([&] {
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd_ >= 0;
  });
}

/// `make` makes a file of the name temporary_, or fails with errno EEXIST: then another name is tried.
template <class Make>
void OutputFile::take_temporary_name(Make make) {
  constexpr int most_names = 100;  // in containers all processes may have one number
  for (int n = 0; !has_name_; ++n) {
    temporary_ = temporary_name(path_, n);
    has_name_ = make();
    if (!has_name_ && (errno != EEXIST || n == most_names)) throw_io("cannot be made", errno, path_);
  }
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (has_name_) ::unlink(temporary_.c_str());
}

void OutputFile::reserve(std::uint64_t n_bytes) {
  if (n_bytes == 0 || ::fallocate(fd_, 0, 0, static_cast<off_t>(n_bytes)) == 0) {
    reserved_ = n_bytes;
    return;
  }
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) throw_io("cannot be written", errno, path_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io("cannot be written", errno, path_);
    written_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void OutputFile::commit() {
  if (reserved_ > written_ && ::ftruncate(fd_, static_cast<off_t>(written_)) != 0)
    throw_io("cannot be cut", errno, path_);
  if (::fsync(fd_) != 0) throw_io("cannot be made durable", errno, path_);
  if (!has_name_ && !replace_) {
    if (!link_nameless(fd_, path_)) errno == EEXIST ? throw_exists(path_) : throw_io("cannot be named", errno, path_);
  } else {
    rename_into_place();
  }
  ::close(fd_);
  fd_ = -1;
  sync_folder(folder_of(path_));
}

void OutputFile::rename_into_place() {
  // Only a name can take the place of another.
  if (!has_name_) take_temporary_name([&] { return link_nameless(fd_, temporary_); });
  const unsigned flags = replace_ ? 0u : static_cast<unsigned>(RENAME_NOREPLACE);
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0) {
    const int error = errno;
    if (error == EEXIST) throw_exists(path_);
    // A file system without that flag: link() refuses an existing name too.
    const bool linked = error == EINVAL && !replace_ && ::link(temporary_.c_str(), path_.c_str()) == 0;
    if (error == EINVAL && !linked && errno == EEXIST) throw_exists(path_);
    if (!linked) throw_io("cannot be renamed into place", error, path_);
    ::unlink(temporary_.c_str());
  }
}

}  // namespace moebox

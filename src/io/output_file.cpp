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

/// The new name is in the folder after a crash as well.
void sync_folder(const fs::path& folder) noexcept {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);  // a file system that cannot is as durable as it gets
  ::close(fd);
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, bool replace) : path_(path), replace_(replace) {
  std::error_code none;
  const fs::file_status found = fs::status(path_, none);
  if (fs::is_directory(found)) throw Error(ErrorKind::invalid_argument, "is a folder, expected a file", path_.string());
  if (fs::exists(found) && !replace) throw_exists(path_);
  temporary_ = path_;
  temporary_ += "." + std::to_string(::getpid()) + ".tmp";
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_io("cannot be made", errno, temporary_);
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
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
  ::close(fd_);
  fd_ = -1;
  sync_folder(path_.parent_path());
}

}  // namespace moebox

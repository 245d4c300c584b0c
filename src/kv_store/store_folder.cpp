#include "kv_store/store_folder.h"

#include <cerrno>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/xxh64.h"

namespace moebox {
namespace {

constexpr const char* lock_name = "lock";
constexpr const char* salt_name = "salt";
constexpr const char* new_salt_name = "salt.new";

struct SaltFile {
  static constexpr std::uint64_t magic_value = 0x544c415358424d4d;  // "MMBXSALT"
  std::uint64_t magic = magic_value;
  std::uint64_t format_version = 1;
  StoreFolder::Salt salt{};
  std::uint64_t checksum = 0;

  std::uint64_t right_checksum() const noexcept {
    return xxh64(std::as_bytes(std::span(this, 1)).first(offsetof(SaltFile, checksum)));
  }
};

const char* advice(int error) {
  switch (error) {
    case ENOENT:
      return "make the folder above it first";
    case EACCES:
    case EPERM:
    case EROFS:
      return "give a folder that this user may write to";
    case ENOSPC:
    case EDQUOT:
      return "free some space there, or give a folder on another disk";
    case ELOOP:
      return "remove the symbolic link";
    default:
      return "give another folder, or leave out the KV store";
  }
}

/// Closes what a constructor that throws has opened.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

StoreFolder::StoreFolder(const std::filesystem::path& path) : path_(path) {
  try {
    open_checked();
    lock();
    load_salt();
  } catch (...) {
    if (lock_fd_ >= 0) ::close(lock_fd_);
    if (fd_ >= 0) ::close(fd_);
    throw;
  }
}

StoreFolder::~StoreFolder() {
  ::close(lock_fd_);
  ::close(fd_);
}

void StoreFolder::fail(const char* what, const char* file) const {
  const int error = errno;
  throw Error(ErrorKind::io, std::string(what) + ": " + std::strerror(error),
              (file != nullptr ? path_ / file : path_).string(), advice(error));
}

void StoreFolder::open_checked() {
  if (path_.empty())
    throw Error(ErrorKind::invalid_argument, "expected a folder, found nothing", "kv_store",
                "give a folder, or leave out the KV store");
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) fail("the KV store's folder cannot be made");
  fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0 && errno == ENOTDIR)
    throw Error(ErrorKind::invalid_argument, "expected a folder, found something else", path_.string(),
                "the KV store takes a folder of its own, which is made where it is not there");
  if (fd_ < 0) fail("the KV store's folder cannot be opened");
  struct stat status{};
  if (::fstat(fd_, &status) != 0) fail("the KV store's folder cannot be examined");
  if (status.st_uid != ::geteuid())
    throw Error(ErrorKind::invalid_argument,
                "expected a folder of user " + std::to_string(::geteuid()) + ", found one of user " +
                    std::to_string(status.st_uid),
                path_.string(), "who owns it could put anything there: give a folder of your own");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    throw Error(ErrorKind::invalid_argument,
                "expected a folder that this user alone may write to, found one that others may write to",
                path_.string(), "chmod 700");
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    log(LogLevel::warning, "kv_store_permissions", {{"folder", path_.string()}, {"advice", "chmod 700"}});
}

void StoreFolder::lock() {
  lock_fd_ = ::openat(fd_, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (lock_fd_ < 0) fail("the KV store's lock cannot be opened", lock_name);
  struct stat status{};
  if (::fstat(lock_fd_, &status) != 0 || !S_ISREG(status.st_mode))
    throw Error(ErrorKind::invalid_argument, "expected a file, found something else", (path_ / lock_name).string(),
                "remove it, or give another folder");
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK)
    throw Error(ErrorKind::resource, "another process uses this KV store", path_.string(),
                "give each process a folder of its own");
  fail("the file system offers no locks", lock_name);
}

void StoreFolder::load_salt() {
  const Descriptor file{::openat(fd_, salt_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (file.fd < 0 && errno != ENOENT) fail("the KV store's salt cannot be opened", salt_name);
  if (file.fd < 0) return write_salt();
  SaltFile found;
  const ssize_t n = ::pread(file.fd, &found, sizeof found, 0);
  if (n < 0) fail("the KV store's salt cannot be read", salt_name);
  if (n == sizeof found && found.magic == SaltFile::magic_value && found.checksum == found.right_checksum() &&
      found.format_version == 1) {
    salt_ = found.salt;
    return;
  }
  log(LogLevel::warning, "kv_store_salt_damaged", {{"folder", path_.string()}, {"effect", "the store begins anew"}});
  write_salt();
}

void StoreFolder::write_salt() {
  SaltFile made;
  StoreSecrets::random(made.salt);
  made.checksum = made.right_checksum();
  if (::unlinkat(fd_, new_salt_name, 0) != 0 && errno != ENOENT)
    fail("the KV store's new salt cannot be removed", new_salt_name);
  const Descriptor file{::openat(fd_, new_salt_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (file.fd < 0) fail("the KV store's salt cannot be made", new_salt_name);
  errno = ENOSPC;  // what a short write means
  if (::write(file.fd, &made, sizeof made) != sizeof made || ::fsync(file.fd) != 0)
    fail("the KV store's salt cannot be written", new_salt_name);
  if (::renameat(fd_, new_salt_name, fd_, salt_name) != 0) fail("the KV store's salt cannot be named", salt_name);
  ::fsync(fd_);
  salt_ = made.salt;
}

std::vector<std::string> StoreFolder::names() const {
  const int copy = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* folder = copy >= 0 ? ::fdopendir(copy) : nullptr;
  if (folder == nullptr) {
    if (copy >= 0) ::close(copy);
    fail("the KV store's folder cannot be read");
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && name != lock_name && name != salt_name && name != new_salt_name)
      names.push_back(name);
  }
  ::closedir(folder);
  return names;
}

}  // namespace moebox

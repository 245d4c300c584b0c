#include "io/mapped_file.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

namespace moebox {
namespace {

[[noreturn]] void throw_system_error(int code, const char* action, const std::filesystem::path& path) {
  const ErrorKind kind = code == ENOENT || code == ENOTDIR ? ErrorKind::not_found : ErrorKind::io;
  throw Error(kind, std::string(action) + ": " + std::generic_category().message(code), path.string(),
              kind == ErrorKind::not_found ? "check the path" : "");
}

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

std::uintptr_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

/// Advice that changes no content, on all pages of `part`.
void advise(std::span<const std::byte> part, int advice) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(part.data()), begin = first / page_bytes() * page_bytes();
  if (!part.empty()) madvise(reinterpret_cast<void*>(begin), first + part.size() - begin, advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw_system_error(errno, "cannot open the file", path);
  *this = MappedFile(file.get(), path);
}

MappedFile::MappedFile(int descriptor, const std::filesystem::path& path) : path_(path) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) throw_system_error(errno, "cannot read the file's status", path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::io, "expected a regular file", path.string(), "folders, pipes and devices cannot be mapped");
  }
  modified_ns_ = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  const auto size = checked_cast<std::size_t>(status.st_size, path.string());
  if (size == 0) return;
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED) throw_system_error(errno, "cannot map the file", path);
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})), modified_ns_(other.modified_ns_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  const auto page = page_bytes();
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void MappedFile::expect_random_reads(std::span<const std::byte> part) const noexcept { advise(part, MADV_RANDOM); }

void MappedFile::prefetch(std::span<const std::byte> part) noexcept { advise(part, MADV_WILLNEED); }

}  // namespace moebox

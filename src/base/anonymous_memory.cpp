#include "base/anonymous_memory.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

/// The number that follows `key` in a text file of the kernel's, or 0.
unsigned long long read_number(const char* path, const char* key) {
  unsigned long long value = 0;
  if (std::FILE* file = std::fopen(path, "r")) {
    char line[256];
    const std::string prefix = key;
    while (std::fgets(line, sizeof line, file) != nullptr)
      if (std::string(line).rfind(prefix, 0) == 0 && std::sscanf(line + prefix.size(), "%llu", &value) == 1) break;
    std::fclose(file);
  }
  return value;
}

}  // namespace

AnonymousMemory::AnonymousMemory(std::size_t bytes, const char* what, bool huge_pages)
    : bytes_(std::max<std::size_t>(bytes, 1)) {
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorKind::resource, "the system refused " + std::to_string(bytes_ >> 20) + " MiB of memory", what,
                "use a smaller model or a shorter context");
  if (huge_pages) ::madvise(memory, bytes_, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(memory);
}

AnonymousMemory::~AnonymousMemory() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

std::size_t available_memory_bytes() noexcept {
  std::size_t available = static_cast<std::size_t>(read_number("/proc/meminfo", "MemAvailable:")) << 10;
  if (available == 0) available = std::size_t{1} << 30;
  const auto limit = read_number("/sys/fs/cgroup/memory.max", "");  // "max" when there is none
  const auto used = read_number("/sys/fs/cgroup/memory.current", "");
  if (limit > 0) available = std::min<std::size_t>(available, limit > used ? limit - used : 0);
  return available;
}

std::size_t resident_memory_bytes() noexcept {
  return static_cast<std::size_t>(read_number("/proc/self/status", "VmRSS:")) << 10;
}

std::size_t peak_resident_memory_bytes() noexcept {
  return static_cast<std::size_t>(read_number("/proc/self/status", "VmHWM:")) << 10;
}

}  // namespace moebox

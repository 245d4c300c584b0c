// Large memory straight from the system: page aligned, zero, resident only where it has been touched.
#pragma once

#include <cstddef>

namespace moebox {

class AnonymousMemory {
 public:
  AnonymousMemory() = default;
  /// `what` names the use in the Error(resource) thrown when the system refuses. Huge pages are asked for, not
  /// promised.
  AnonymousMemory(std::size_t bytes, const char* what, bool huge_pages);
  ~AnonymousMemory();
  AnonymousMemory(AnonymousMemory&& other) noexcept;
  AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;

  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Memory that this process may still use, in bytes: the system's estimate, or what is left of its cgroup's limit.
std::size_t available_memory_bytes() noexcept;
/// Resident memory of this process, in bytes.
std::size_t resident_memory_bytes() noexcept;
/// The most that it has had.
std::size_t peak_resident_memory_bytes() noexcept;

}  // namespace moebox

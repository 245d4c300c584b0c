// Reads sections of a pack file on threads of its own, several at once, past the page cache where the file system
// allows it. Submitting and waiting allocate nothing and take no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "models/pack_file.h"

namespace moebox {

class ExpertReader {
 public:
  /// One reading. It belongs to the reader from submit() until it is done.
  struct Job {
    enum State : int { idle, reading, done, failed };
    const WeightSection* section = nullptr;
    std::byte* to = nullptr;  // room for the section, rounded up to section_alignment
    int error = 0;            // of the system, where it failed; 0: the bytes are not those that were written
    std::atomic<int> state{idle};

    bool is_over() const noexcept { return state.load(std::memory_order_acquire) != reading; }
    void wait() const noexcept { state.wait(reading, std::memory_order_acquire); }
  };

  /// At most `n_jobs` are submitted and not done at a time. Throws Error(resource) when threads cannot be started.
  ExpertReader(PackFile file, std::size_t n_jobs);
  ~ExpertReader();

  const PackFile& file() const noexcept { return file_; }
  /// By one thread at a time.
  void submit(Job& job) noexcept;
  /// Reads and checks at once, on the caller's thread.
  void read(Job& job) const noexcept;

 private:
  void stop() noexcept;
  void work() noexcept;

  PackFile file_;
  int direct_fd_ = -1;  // of the same file; -1: there is no such reading
  std::vector<std::atomic<Job*>> ring_;
  std::atomic<std::uint32_t> submitted_{0}, taken_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace moebox

#include "models/expert_reader.h"

#include <bit>
#include <cerrno>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

constexpr int n_reading_threads = 8;  // readings in flight: disks want several, and more bring nothing

/// 0, or the system's error; -1 where the file ends too early.
int read_fully(int fd, std::byte* to, std::size_t bytes, std::uint64_t offset) noexcept {
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return -1;
    to += n;
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
  return 0;
}

}  // namespace

ExpertReader::ExpertReader(PackFile file, std::size_t n_jobs)
    : file_(std::move(file)), ring_(std::bit_ceil(std::max<std::size_t>(n_jobs, 1))) {
  // The same file, not what its name stands for by now.
  const std::string self = "/proc/self/fd/" + std::to_string(file_.descriptor());
  direct_fd_ = ::open(self.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  try {
    for (int i = 0; i < n_reading_threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(ErrorKind::resource, std::string("threads for reading cannot be started: ") + error.what());
  }
}

ExpertReader::~ExpertReader() { stop(); }

void ExpertReader::stop() noexcept {
  stopping_ = true;
  submitted_.fetch_add(1);
  submitted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  if (direct_fd_ >= 0) ::close(direct_fd_);
}

void ExpertReader::submit(Job& job) noexcept {
  job.state.store(Job::reading, std::memory_order_relaxed);
  const std::uint32_t place = submitted_.load(std::memory_order_relaxed);
  ring_[place & (ring_.size() - 1)].store(&job, std::memory_order_relaxed);
  submitted_.store(place + 1, std::memory_order_release);
  submitted_.notify_one();
}

void ExpertReader::read(Job& job) const noexcept {
  const WeightSection& section = *job.section;
  const std::size_t whole = (section.bytes + section_alignment - 1) / section_alignment * section_alignment;
  const std::uint64_t offset = PackFile::data_offset + section.offset;
  int error = direct_fd_ >= 0 ? read_fully(direct_fd_, job.to, whole, offset) : EINVAL;
  if (error == EINVAL) error = read_fully(file_.descriptor(), job.to, whole, offset);
  const bool holds = error == 0 && file_.holds(section, 0, {job.to, section.bytes});
  job.error = error > 0 ? error : 0;
  job.state.store(holds ? Job::done : Job::failed, std::memory_order_release);
}

void ExpertReader::work() noexcept {
  while (true) {
    std::uint32_t place = taken_.load(std::memory_order_relaxed);
    const std::uint32_t end = submitted_.load(std::memory_order_acquire);
    if (stopping_) return;
    if (place == end) {
      submitted_.wait(end, std::memory_order_acquire);
      continue;
    }
    if (!taken_.compare_exchange_weak(place, place + 1, std::memory_order_relaxed)) continue;
    Job& job = *ring_[place & (ring_.size() - 1)].load(std::memory_order_relaxed);
    read(job);
    job.state.notify_all();
  }
}

}  // namespace moebox

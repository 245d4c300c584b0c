#include "base/thread_team.h"

#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include <sched.h>

#include "base/error.h"

namespace moebox {
namespace {

// A barrier within a step is shorter than this; a wait between steps is longer, and then sleeping is right.
constexpr int spin_turns = 2000;

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) noexcept {
  for (int turn = 0; turn < spin_turns; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

void TeamMember::wait() const noexcept {
  if (size == 1) return;
  const std::uint32_t phase = barrier_->phase.load(std::memory_order_acquire);
  if (barrier_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<std::uint32_t>(size)) {
    barrier_->arrived.store(0, std::memory_order_relaxed);
    // A read-modify-write, not a store: notify_all() must not look for sleepers before the new phase can be seen, or
    // one sleeps on.
    barrier_->phase.fetch_add(1, std::memory_order_seq_cst);
    barrier_->phase.notify_all();
    return;
  }
  wait_for_change(barrier_->phase, phase);
}

struct ThreadTeam::State {
  TeamMember::Barrier barrier;
  alignas(64) std::atomic<std::uint32_t> generation{0};
  Entry entry = nullptr;
  void* work = nullptr;
  bool stop = false;
  std::vector<std::thread> threads;
};

ThreadTeam::ThreadTeam(int size) : size_(size > 0 ? size : usable_processors()), state_(std::make_unique<State>()) {
  if (size_ > 1024)
    throw Error(ErrorKind::invalid_argument, "at most 1024 threads are possible, found " + std::to_string(size_),
                "threads");
  State* state = state_.get();
  for (int index = 1; index < size_; ++index) {
    state->threads.emplace_back([this, state, index] {
      const TeamMember member(index, size_, &state->barrier);
      for (std::uint32_t seen = 0;; ++seen) {
        wait_for_change(state->generation, seen);
        if (state->stop) return;
        state->entry(state->work, member);
        member.wait();
      }
    });
  }
}

ThreadTeam::~ThreadTeam() {
  state_->stop = true;
  state_->generation.fetch_add(1, std::memory_order_seq_cst);
  state_->generation.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadTeam::run_erased(Entry entry, void* work) noexcept {
  const TeamMember member(0, size_, &state_->barrier);
  if (size_ > 1) {
    state_->entry = entry;
    state_->work = work;
    state_->generation.fetch_add(1, std::memory_order_seq_cst);
    state_->generation.notify_all();
  }
  entry(work, member);
  member.wait();
}

int usable_processors() noexcept {
  int count = 1;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  // A container's quota, in cgroup v2: "max 100000" or "<quota> <period>".
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    double quota = 0, period = 0;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0) {
      const int limit = static_cast<int>(std::ceil(quota / period));
      if (limit >= 1 && limit < count) count = limit;
    }
    std::fclose(file);
  }
  return count > 0 ? count : 1;
}

}  // namespace moebox

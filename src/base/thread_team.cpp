#include "base/thread_team.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include <sched.h>
#include <time.h>

#include "base/error.h"
#include "base/team_pace.h"
#include "base/thread_placement.h"

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

double seconds_now() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double thread_seconds() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// False when the value did not change in that time.
template <class Value>
bool spin(const std::atomic<Value>& value, Value old, int turns) noexcept {
  for (int turn = 0; turn < turns; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return true;
    relax();
  }
  return false;
}

template <class Value>
void sleep_until_change(const std::atomic<Value>& value, Value old) noexcept {
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

// Who runs next, in one word: a thread that takes no part must not read what belongs to a run that may be over. 64
// bits: a number of runs never comes again.
constexpr int members_bits = 11;  // up to 1024 members
constexpr std::uint64_t run_of(std::uint64_t number, int members) noexcept {
  return number << members_bits | static_cast<std::uint64_t>(members);
}
constexpr int members_of(std::uint64_t run) noexcept { return static_cast<int>(run & ((1u << members_bits) - 1)); }

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
  if (spin(barrier_->phase, phase, spin_turns / 32)) return;
  const double begin = index == 0 ? seconds_now() : 0;
  const bool changed = spin(barrier_->phase, phase, spin_turns);
  if (index == 0) barrier_->spun_seconds += seconds_now() - begin;
  if (!changed) sleep_until_change(barrier_->phase, phase);
}

struct ThreadTeam::State {
  explicit State(int size) : pace(size), placement(size) {}

  TeamMember::Barrier barrier;
  alignas(64) std::atomic<std::uint64_t> run{0};
  Entry entry = nullptr;
  void* work = nullptr;
  std::uint64_t n_runs = 0;
  std::atomic<double> seconds{0}, computing{0};  // written by the member 0 alone
  TeamPace pace;
  const ThreadPlacement placement;
  std::vector<std::thread> threads;

  /// A part of the team runs where the system likes.
  std::span<const int> nodes(int members) const noexcept {
    return members == pace.size() ? std::span<const int>(placement.nodes()) : std::span<const int>();
  }
};

ThreadTeam::ThreadTeam(int size)
    : size_(size > 0 ? size : usable_processors()), state_(std::make_unique<State>(size_)) {
  if (size_ > 1024)
    throw Error(ErrorKind::invalid_argument, "at most 1024 threads are possible, found " + std::to_string(size_),
                "threads");
  State* state = state_.get();
  for (int index = 1; index < size_; ++index) {
    state->threads.emplace_back([state, index] {
      bool pinned = false;
      for (std::uint64_t run = 0;;) {
        if (!spin(state->run, run, spin_turns)) sleep_until_change(state->run, run);
        run = state->run.load(std::memory_order_acquire);
        const int members = members_of(run);
        if (members == 0) return;
        if (index >= members) continue;
        // Fewer members than there are run because others want processors: then the system knows better which.
        const bool whole_team = members == state->pace.size();
        if (state->placement.places() && whole_team != pinned) {
          whole_team ? state->placement.pin(index) : state->placement.unpin();
          pinned = whole_team;
        }
        const TeamMember member(index, members, &state->barrier, state->nodes(members));
        state->entry(state->work, member);
        member.wait();
      }
    });
  }
}

ThreadTeam::~ThreadTeam() {
  start(0);
  for (std::thread& thread : state_->threads) thread.join();
}

/// The next run, of so many members; 0 ends the threads.
void ThreadTeam::start(int members) noexcept {
  // A read-modify-write: see TeamMember::wait().
  state_->run.exchange(run_of(++state_->n_runs, members), std::memory_order_seq_cst);
  state_->run.notify_all();
}

void ThreadTeam::run_erased(Entry entry, void* work) noexcept {
  if (size_ == 1) return entry(work, TeamMember(0, 1, &state_->barrier));
  const double begin = seconds_now(), computed = thread_seconds();
  state_->barrier.spun_seconds = state_->barrier.waited_seconds = 0;
  const int members = state_->pace.members();
  const TeamMember member(0, members, &state_->barrier, state_->nodes(members));
  // The caller is placed while the team runs only: it has other things to do, and threads that it starts inherit this.
  const bool placed = state_->placement.places() && member.size == size_;
  if (placed) state_->placement.pin(0);
  if (member.size > 1) {
    state_->entry = entry;
    state_->work = work;
    start(member.size);
  }
  entry(work, member);
  member.wait();
  if (placed) state_->placement.unpin();
  const double seconds = seconds_now() - begin - state_->barrier.waited_seconds;
  const double computing = thread_seconds() - computed - state_->barrier.spun_seconds;
  state_->pace.ran(seconds, computing);
  const auto add = [](std::atomic<double>& sum, double value) {
    sum.store(sum.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  };
  add(state_->seconds, seconds);
  add(state_->computing, computing);
}

void ThreadTeam::forget_pace() noexcept { state_->pace.forget(); }

TeamTimes ThreadTeam::times() const noexcept {
  return {state_->seconds.load(std::memory_order_relaxed), state_->computing.load(std::memory_order_relaxed)};
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

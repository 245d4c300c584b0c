// A team of threads that run one function together (single program, multiple data) with cheap barriers in between.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

namespace moebox {

/// What one member sees while the team runs: who it is, and the barrier.
class TeamMember {
 public:
  /// A barrier that spins for a while before it sleeps in the kernel.
  struct Barrier {
    alignas(64) std::atomic<std::uint32_t> arrived{0};
    alignas(64) std::atomic<std::uint32_t> phase{0};
    // By the member 0, and written by it alone.
    alignas(64) double spun_seconds = 0;
    double waited_seconds = 0;  // for what is not the team's work
  };

  /// `nodes`: see the field.
  TeamMember(int index, int size, Barrier* barrier, std::span<const int> nodes = {}) noexcept
      : index(index), size(size), nodes(nodes), barrier_(barrier) {}

  const int index;  // 0 .. size - 1
  const int size;
  const std::span<const int> nodes;  // (size): each member's memory node, from 0 without gaps; empty: all are on one

  /// The memory node that this member runs on.
  int node() const noexcept { return nodes.empty() ? 0 : nodes[static_cast<std::size_t>(index)]; }

  /// Returns when every member has called it; what they wrote before is visible after.
  void wait() const noexcept;

  /// Tells that this member waited for something outside the team, a disk: it says nothing about whether fewer members
  /// would be faster.
  void waited_outside(double seconds) const noexcept {
    if (index == 0) barrier_->waited_seconds += seconds;
  }

  /// This member's part [first, last) of `count` items, split as evenly as whole items allow.
  struct Range {
    int first, last;
  };
  Range part(int count) const noexcept {
    return {static_cast<int>(static_cast<std::int64_t>(index) * count / size),
            static_cast<int>(static_cast<std::int64_t>(index + 1) * count / size)};
  }
  /// The node of the member whose part of `count` items holds this one.
  int node_of(int item, int count) const noexcept {
    if (nodes.empty()) return 0;
    return nodes[static_cast<std::size_t>((static_cast<std::int64_t>(item + 1) * size - 1) / count)];
  }

 private:
  Barrier* barrier_;
};

/// What a team's runs took since it began, as its first member saw it.
struct TeamTimes {
  double seconds = 0;    // of all runs, without what they waited for outside the team
  double computing = 0;  // of these: neither waiting for other members nor put aside by the system
};

/// Owns `size - 1` threads; the caller of run() is the member 0. Not for use by two callers at once.
/// Where others take the machine's processors, fewer members run (base/team_pace.h).
class ThreadTeam {
 public:
  /// `size` 0 takes the number of processors that this process may use. Throws Error when threads cannot be started.
  explicit ThreadTeam(int size = 0);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const noexcept { return size_; }
  /// A team of one counts nothing: it waits for nobody. Thread safe.
  TeamTimes times() const noexcept;
  /// What follows is other work than before: how many members run is found out anew. Not while the team runs.
  void forget_pace() noexcept;

  /// Calls `work(const TeamMember&)` on as many members as TeamMember::size says, at most size(), and returns when all
  /// are done. `work` must not throw.
  template <class Work>
  void run(Work&& work) noexcept {
    run_erased(
        [](void* state, const TeamMember& member) { (*static_cast<std::remove_reference_t<Work>*>(state))(member); },
        const_cast<void*>(static_cast<const void*>(&work)));
  }

 private:
  using Entry = void (*)(void*, const TeamMember&);
  void run_erased(Entry entry, void* state) noexcept;
  void start(int members) noexcept;
  struct State;

  int size_;
  std::unique_ptr<State> state_;
};

/// Processors that this process may use (its affinity mask and its cgroup limit, not those of the machine).
int usable_processors() noexcept;

}  // namespace moebox

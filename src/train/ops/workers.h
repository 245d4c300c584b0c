// Who lends the operators threads. They start none: a program that has a pool of threads already (the trainer has
// LibTorch's) must not have two that take the processors from each other, nor two OpenMP runtimes. So the pool is
// behind this interface, and no operator knows OpenMP.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "base/thread_team.h"

namespace moebox::train_ops {

class Workers {
 public:
  virtual ~Workers() = default;
  /// The most workers that run() may call.
  virtual int size() const noexcept = 0;

  /// Calls work(worker) for workers 0 .. n - 1, n <= size(), at once, and returns when all are done. `work` must not
  /// throw. Not for use by two callers at once.
  template <class Work>
  void run(Work&& work) noexcept {
    run_erased([](void* state, int worker) { (*static_cast<std::remove_reference_t<Work>*>(state))(worker); },
               const_cast<void*>(static_cast<const void*>(&work)));
  }

 protected:
  using Entry = void (*)(void* work, int worker);
  virtual void run_erased(Entry entry, void* work) noexcept = 0;
};

/// The house's own threads: for tests, benchmarks, and programs without another pool.
class TeamWorkers final : public Workers {
 public:
  explicit TeamWorkers(int size = 0) : team_(size) {}
  int size() const noexcept override { return team_.size(); }

 private:
  void run_erased(Entry entry, void* work) noexcept override {
    team_.run([&](const TeamMember& member) { entry(work, member.index); });
  }

  ThreadTeam team_;
};

/// Calls task(i, worker) for each i of 0 .. n - 1 once. Workers take the tasks from a counter, so which of them does
/// what is chance: a task writes what no other task writes, and no result depends on the number of workers.
template <class Task>
void for_each_task(Workers& workers, std::int64_t n, Task&& task) noexcept {
  if (n <= 1 || workers.size() == 1) {
    for (std::int64_t i = 0; i < n; ++i) task(i, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  workers.run([&](int worker) {
    for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) task(i, worker);
  });
}

/// The same for runs [first, last) of at most `run` of n items. `run` must not depend on the number of workers where a
/// task's sums do.
template <class Task>
void for_each_run(Workers& workers, std::int64_t n, std::int64_t run, Task&& task) noexcept {
  for_each_task(workers, (n + run - 1) / run, [&](std::int64_t i, int worker) {
    const std::int64_t first = i * run;
    task(first, first + run < n ? first + run : n, worker);
  });
}

}  // namespace moebox::train_ops

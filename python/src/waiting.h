// Work that takes long: done on a thread of its own, while the thread that asked for it waits without the interpreter's
// lock and looks now and then whether Ctrl-C was pressed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include <nanobind/nanobind.h>

namespace moebox::python {

/// What the two threads know of each other.
class Watch {
 public:
  /// For the work: how far it is. False: it is to end.
  bool report(std::uint64_t done, std::uint64_t total) noexcept {
    total_ = total;
    done_ = done;
    return !stopped_;
  }
  bool goes_on() const noexcept { return !stopped_; }

  void stop() noexcept { stopped_ = true; }
  std::uint64_t done() const noexcept { return done_; }
  std::uint64_t total() const noexcept { return total_; }

 private:
  std::atomic<std::uint64_t> done_ = 0, total_ = 0;
  std::atomic<bool> stopped_ = false;
};

/// Gives what `work` gives, which knows nothing of Python. `progress` is None or called with done and total. Throws
/// what the work throws, or Python's exception of a signal or of `progress`, once the work has ended.
template <class Work>
auto wait_for(Work work, const nanobind::object& progress = nanobind::none()) {
  Watch watch;
  std::packaged_task task([&] { return work(watch); });
  auto result = task.get_future();
  std::jthread thread(std::move(task));
  std::optional<nanobind::python_error> problem;
  std::uint64_t told = 0;
  for (bool ready = false; !ready;) {
    {
      const nanobind::gil_scoped_release free;
      ready = result.wait_for(std::chrono::milliseconds(50)) == std::future_status::ready;
    }
    if (problem) continue;
    try {
      if (PyErr_CheckSignals() != 0) throw nanobind::python_error();
      if (!progress.is_none() && watch.done() != told) {
        told = watch.done();
        progress(told, watch.total());
      }
    } catch (nanobind::python_error& error) {
      watch.stop();
      problem.emplace(std::move(error));
    }
  }
  if (problem) {
    nanobind::python_error error = std::move(*problem);
    throw error;
  }
  return result.get();
}

}  // namespace moebox::python

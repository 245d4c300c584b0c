// Work in three steps: taken by one thread at a time, done by many, and finished by one at a time in the order in which
// it was taken.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace moebox::data {

/// `take(item)` gives false at the end; `work(item)` runs on many threads at once; `finish(item)` in order. At most
/// about `4 * n_threads` items exist at a time. When a step throws, what was taken before is still finished, nothing
/// after; then the error of the first such item is thrown.
template <class Item, class Take, class Work, class Finish>
void run_ordered(int n_threads, Take&& take, Work&& work, Finish&& finish) {
  struct {
    std::mutex taking, finishing;
    std::condition_variable room;
    std::int64_t n_taken = 0;     // by `taking`
    std::int64_t n_finished = 0;  // the rest by `finishing`
    std::map<std::int64_t, Item> ready;
    std::exception_ptr error;
    std::int64_t error_at = INT64_MAX;
  } shared;
  const std::int64_t most_items = std::int64_t{4} * n_threads;

  const auto fail = [&](std::int64_t at) {
    const std::lock_guard lock(shared.finishing);
    if (at < shared.error_at) {
      shared.error = std::current_exception();
      shared.error_at = at;
    }
    shared.room.notify_all();
  };
  const auto finish_ready = [&] {
    while (!shared.ready.empty() && shared.ready.begin()->first == shared.n_finished &&
           shared.n_finished < shared.error_at) {
      auto node = shared.ready.extract(shared.ready.begin());
      try {
        finish(node.mapped());
      } catch (...) {
        shared.error = std::current_exception();
        shared.error_at = shared.n_finished;
      }
      ++shared.n_finished;
    }
    shared.room.notify_all();
  };
  const auto run = [&] {
    for (;;) {
      Item item;
      std::int64_t index = 0;
      {
        const std::lock_guard lock(shared.taking);
        index = shared.n_taken;
        {
          std::unique_lock waiting(shared.finishing);
          shared.room.wait(waiting,
                           [&] { return index - shared.n_finished < most_items || shared.error_at != INT64_MAX; });
          if (shared.error_at != INT64_MAX) return;
        }
        try {
          if (!take(item)) return;
        } catch (...) {
          fail(index);
          return;
        }
        ++shared.n_taken;
      }
      try {
        work(item);
      } catch (...) {
        fail(index);
        continue;
      }
      const std::lock_guard lock(shared.finishing);
      shared.ready.emplace(index, std::move(item));
      finish_ready();
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 1; i < n_threads; ++i) threads.emplace_back(run);
  run();
  threads.clear();
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace moebox::data

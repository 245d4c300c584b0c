// Ranks that are threads of the test: what several processes do, without processes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "train/world.h"

namespace moebox::train::test {

class ThreadWorld : public World {
 public:
  using Numbers = std::vector<std::int64_t>;

  /// One call of all ranks: what each of them brought.
  struct Call {
    std::vector<Tensor> brought;
    std::vector<Numbers> counts;
    std::size_t n_there = 0, n_done = 0;
  };
  /// Where the ranks of a world meet, and those of its parts.
  struct Room {
    explicit Room(int n) : size(n) {}
    const int size;
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::int64_t, Call> calls;
    std::map<std::string, std::shared_ptr<Room>> parts;
    std::map<std::string, std::string> notes;
  };

  ThreadWorld(std::shared_ptr<Room> room, int rank) : room_(std::move(room)), rank_(rank) {}

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return room_->size; }

  void add_up(const Tensor& x) override { sum_into(x, collect(bring(x)).brought); }
  std::unique_ptr<Transfer> start_adding_up(const Tensor& x, int at) override {
    return later(x, [at](const Tensor& to, const Call& call, int rank) {
      if (rank == at) sum_into(to, call.brought);
    });
  }
  std::unique_ptr<Transfer> start_spreading(const Tensor& x, int from) override {
    return later(x, [from](const Tensor& to, const Call& call, int) { to.copy_(call.brought[place(from)]); });
  }
  Tensor exchange_rows(const Tensor& x, const Numbers& sent, const Numbers& received) override {
    const Call call = collect(bring(x, sent));
    std::vector<Tensor> rows;
    for (std::size_t from = 0; from < call.brought.size(); ++from) {
      const Numbers& counts = call.counts[from];
      const std::int64_t first = std::accumulate(counts.begin(), counts.begin() + rank_, std::int64_t{0});
      if (counts[place(rank_)] != received[from]) throw std::logic_error("another number of rows than was agreed");
      rows.push_back(call.brought[from].narrow(0, first, received[from]));
    }
    return at::cat(rows);
  }
  std::shared_ptr<World> part(const std::vector<int>& ranks) override {
    if (ranks.size() == 1) return make_world_of_one();
    std::string name = std::to_string(++n_parts_);
    for (const int rank : ranks) name += "-" + std::to_string(rank);
    const std::lock_guard lock(room_->mutex);
    std::shared_ptr<Room>& room = room_->parts[name];
    if (room == nullptr) room = std::make_shared<Room>(static_cast<int>(ranks.size()));
    return std::make_shared<ThreadWorld>(room, static_cast<int>(std::ranges::find(ranks, rank_) - ranks.begin()));
  }
  void leave_note(const std::string& name, const std::string& text) override {
    const std::lock_guard lock(room_->mutex);
    room_->notes[name] = text;
    room_->changed.notify_all();
  }
  std::string read_note(const std::string& name) override {
    std::unique_lock lock(room_->mutex);
    wait(lock, [&] { return room_->notes.contains(name); });
    return room_->notes.at(name);
  }

 private:
  using Finish = std::function<void(const Tensor& to, const Call& call, int rank)>;
  class Later : public Transfer {
   public:
    Later(ThreadWorld& world, std::int64_t number, Tensor x, Finish finish)
        : world_(world), number_(number), x_(std::move(x)), finish_(std::move(finish)) {}
    void wait() override { finish_(x_, world_.collect(number_), world_.rank_); }

   private:
    ThreadWorld& world_;
    const std::int64_t number_;
    const Tensor x_;
    const Finish finish_;
  };

  static std::size_t place(int rank) { return static_cast<std::size_t>(rank); }
  static void sum_into(const Tensor& x, const std::vector<Tensor>& parts) {
    x.zero_();
    for (const Tensor& part : parts) x.add_(part);
  }
  std::unique_ptr<Transfer> later(const Tensor& x, Finish finish) {
    return std::make_unique<Later>(*this, bring(x), x, std::move(finish));
  }
  template <class Done>
  void wait(std::unique_lock<std::mutex>& lock, const Done& done) {
    if (!room_->changed.wait_for(lock, std::chrono::minutes(2), done))
      throw std::runtime_error("rank " + std::to_string(rank_) + " waits for others that do not come");
  }
  std::int64_t bring(const Tensor& x, const Numbers& counts = {}) {
    const std::lock_guard lock(room_->mutex);
    Call& call = room_->calls[++n_calls_];
    call.brought.resize(place(room_->size));
    call.counts.resize(place(room_->size));
    call.brought[place(rank_)] = x.clone();
    call.counts[place(rank_)] = counts;
    if (++call.n_there == place(room_->size)) room_->changed.notify_all();
    return n_calls_;
  }
  Call collect(std::int64_t number) {
    std::unique_lock lock(room_->mutex);
    Call& call = room_->calls[number];
    wait(lock, [&] { return call.n_there == place(room_->size); });
    const Call found = call;
    if (++call.n_done == place(room_->size)) room_->calls.erase(number);
    return found;
  }

  const std::shared_ptr<Room> room_;
  const int rank_;
  std::int64_t n_calls_ = 0;
  int n_parts_ = 0;
};

/// f(world) in each of so many ranks; what one of them throws is thrown here.
inline void run_ranks(int n, const std::function<void(const std::shared_ptr<World>&)>& f) {
  const auto room = std::make_shared<ThreadWorld::Room>(n);
  std::vector<std::exception_ptr> problems(static_cast<std::size_t>(n));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank)
    threads.emplace_back([&, rank] {
      try {
        f(std::make_shared<ThreadWorld>(room, rank));
      } catch (...) {
        problems[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& problem : problems)
    if (problem) std::rethrow_exception(problem);
}

}  // namespace moebox::train::test

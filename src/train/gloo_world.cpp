#include "train/gloo_world.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <fmt/ranges.h>

// What c10d was built with.
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.h"

namespace moebox::train {
namespace {

using c10d::ProcessGroupGloo;
constexpr auto time_between_looks = std::chrono::milliseconds(20);

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool is_loopback(const std::string& address) {
  return address == "localhost" || address.starts_with("127.") || address == "::1";
}

std::shared_ptr<gloo::transport::Device> device_for(const WorldPlace& place) {
  if (!place.interface.empty()) return ProcessGroupGloo::createDeviceForInterface(place.interface);
  if (is_loopback(place.address)) return ProcessGroupGloo::createDeviceForHostname(place.address);
  return ProcessGroupGloo::createDefaultDevice();
}

c10::intrusive_ptr<c10d::Store> open_store(const WorldPlace& place, std::chrono::seconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(place.port);
  options.isServer = place.rank == 0 && !place.has_store;
  options.numWorkers = static_cast<std::size_t>(place.size);
  options.waitWorkers = !place.has_store;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::TCPStore>(place.address, options);
}

/// Throws as ours what c10d throws, and remembers it: a thread that waits for a note shall not wait for who is gone.
class Failures {
 public:
  explicit Failures(const WorldPlace& place) : where_(fmt::format("rank {} of {}", place.rank, place.size)) {}

  template <class F>
  auto guard(const F& f) {
    try {
      return f();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& problem) {
      refuse(first_line(problem.what()));
    }
  }
  [[noreturn]] void refuse(const std::string& why) {
    any_ = true;
    throw Error(ErrorKind::network, "another process of the run is gone, or did not answer in time: " + why, where_,
                "what the other one said tells why; when all are started again with --resume, the run goes on from its "
                "last checkpoint");
  }
  bool any() const noexcept { return any_; }

 private:
  const std::string where_;
  std::atomic<bool> any_ = false;
};

class GlooTransfer final : public Transfer {
 public:
  GlooTransfer(Failures& failures, c10::intrusive_ptr<c10d::Work> work) : failures_(failures), work_(std::move(work)) {}
  void wait() override {
    failures_.guard([&] { return work_->wait(); });
  }

 private:
  Failures& failures_;
  const c10::intrusive_ptr<c10d::Work> work_;
};

class GlooWorld final : public World {
 public:
  /// Of all ranks, or of some: `place` has the numbers among them, `name` is theirs alone.
  GlooWorld(const WorldPlace& place, std::chrono::seconds timeout, std::shared_ptr<Failures> failures,
            c10::intrusive_ptr<c10d::Store> store, const std::string& name)
      : place_(place), timeout_(timeout), failures_(std::move(failures)), store_(std::move(store)) {
    failures_->guard([&] {
      const std::string prefix = "moebox/" + place.attempt + "/" + name;
      notes_ = c10::make_intrusive<c10d::PrefixStore>(prefix + "/notes", store_->clone());
      auto options = ProcessGroupGloo::Options::create(timeout);
      options->devices.push_back(device_for(place));
      group_ = c10::make_intrusive<ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>(prefix + "/group", store_),
                                                     place.rank, place.size, options);
      return true;
    });
  }

  int rank() const noexcept override { return place_.rank; }
  int size() const noexcept override { return place_.size; }

  void add_up(const Tensor& x) override {
    std::vector<Tensor> tensors{x};
    start([&] { return group_->allreduce(tensors); })->wait();
  }
  std::unique_ptr<Transfer> start_adding_up(const Tensor& x, int at) override {
    std::vector<Tensor> tensors{x};
    c10d::ReduceOptions options;
    options.rootRank = at;
    return start([&] { return group_->reduce(tensors, options); });
  }
  std::unique_ptr<Transfer> start_spreading(const Tensor& x, int from) override {
    std::vector<Tensor> tensors{x};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    return start([&] { return group_->broadcast(tensors, options); });
  }

  Tensor exchange_rows(const Tensor& x, const std::vector<std::int64_t>& sent,
                       const std::vector<std::int64_t>& received) override {
    const std::int64_t n = std::accumulate(received.begin(), received.end(), std::int64_t{0});
    Tensor found = at::empty({n, x.size(1)}, x.options());
    // As bytes: nothing is computed.
    const std::int64_t row_bytes = x.size(1) * static_cast<std::int64_t>(x.element_size());
    const auto bytes = at::TensorOptions(at::kByte);
    const Tensor from = x.contiguous();
    Tensor input = at::from_blob(from.data_ptr(), {x.size(0), row_bytes}, bytes);
    Tensor output = at::from_blob(found.data_ptr(), {n, row_bytes}, bytes);
    std::vector<std::int64_t> to = received, of = sent;
    start([&] { return group_->alltoall_base(output, input, to, of); })->wait();
    return found;
  }

  std::shared_ptr<World> part(const std::vector<int>& ranks) override {
    if (ranks.size() == 1) return make_world_of_one();
    WorldPlace place = place_;
    place.size = static_cast<int>(ranks.size());
    place.rank = static_cast<int>(std::ranges::find(ranks, place_.rank) - ranks.begin());
    return std::make_shared<GlooWorld>(place, timeout_, failures_, store_,
                                       fmt::format("part-{}-{}", ++n_parts_, fmt::join(ranks, "-")));
  }

  void leave_note(const std::string& name, const std::string& text) override {
    failures_->guard([&] {
      notes_->set(name, std::vector<std::uint8_t>(text.begin(), text.end()));
      return true;
    });
  }
  std::string read_note(const std::string& name) override {
    const auto last = std::chrono::steady_clock::now() + timeout_;
    while (!failures_->guard([&] { return notes_->check({name}); })) {
      if (failures_->any()) failures_->refuse("no news of " + name);
      if (std::chrono::steady_clock::now() > last) failures_->refuse("no news of " + name);
      std::this_thread::sleep_for(time_between_looks);
    }
    return failures_->guard([&] {
      const std::vector<std::uint8_t> bytes = notes_->get(name);
      return std::string(bytes.begin(), bytes.end());
    });
  }

 private:
  template <class F>
  std::unique_ptr<Transfer> start(const F& f) {
    return std::make_unique<GlooTransfer>(*failures_, failures_->guard(f));
  }

  const WorldPlace place_;
  const std::chrono::seconds timeout_;
  const std::shared_ptr<Failures> failures_;  // of all worlds of this process
  int n_parts_ = 0;                           // that were made: the same ranks may be several parts
  c10::intrusive_ptr<c10d::Store> store_, notes_;
  c10::intrusive_ptr<ProcessGroupGloo> group_;
};

}  // namespace

std::shared_ptr<World> join_world(const WorldPlace& place, std::chrono::seconds timeout) {
  try {
    return std::make_shared<GlooWorld>(place, timeout, std::make_shared<Failures>(place), open_store(place, timeout),
                                       "all");
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    throw Error(ErrorKind::network, "the processes of the run do not find each other: " + first_line(problem.what()),
                fmt::format("rank {} of {}, {}:{}", place.rank, place.size, place.address, place.port),
                "MASTER_ADDR and MASTER_PORT are where rank 0 listens; all ranks have to be started");
  }
}

}  // namespace moebox::train

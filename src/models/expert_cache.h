// Routed experts that do not all fit into memory: each layer has slots of its own, and the expert that was used longest
// ago makes room. What an expert's bytes are does not depend on when they were read, so a cache changes no bit.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/anonymous_memory.h"
#include "models/expert_reader.h"
#include "models/experts.h"
#include "models/model.h"

namespace moebox {

class ExpertCache {
 public:
  /// Divides `capacity_bytes` among the layers of the plan by what their experts take. Throws Error(resource) when that
  /// is less than smallest_bytes().
  ExpertCache(PackFile file, const WeightPlan& plan, std::size_t capacity_bytes, int top_k);
  /// Room for what one token needs in every layer.
  static std::size_t smallest_bytes(const WeightPlan& plan, int top_k);
  /// Throws Error(resource) that names the smallest.
  static void check_size(const WeightPlan& plan, std::size_t capacity_bytes, int top_k);

  /// One forward at a time goes through a layer: from begin() on until end(). By one member of the team.
  /// `wanted`, ascending, are the experts of this layer (the n-th with experts) that the batch takes; what is not there
  /// is read, as much at once as there is room for.
  void begin(int layer, std::span<const int> wanted) noexcept;
  /// The experts that come next, and are there until the next call; those that were there come first. Waits for the
  /// first of them when there is none yet, or returns nothing where `wait` is false. Nothing when all have been.
  std::span<const int> next(bool wait) noexcept;
  /// Seconds that the last call of next() waited.
  double waited_seconds() const noexcept { return last_wait_seconds_; }
  const GatedMlp& expert(int id) const noexcept;
  void end() noexcept;

  /// A section that could not be read; an expert of this layer, since begin().
  struct Failure {
    const WeightSection* section = nullptr;  // nullptr: all were read
    int error = 0;                           // as ExpertReader::Job::error
  };
  const Failure& failure() const noexcept { return failure_; }
  /// What a failure means, for the one whose request it ends.
  [[noreturn]] void raise(const Failure& failure) const;

  ExpertCacheStats stats() const noexcept;
  const ExpertReader& reader() const noexcept { return *reader_; }

 private:
  struct Slot {
    ExpertReader::Job job;
    int expert = -1;
    std::uint64_t last_use = 0;
  };
  struct Expert {
    WeightSection section;
    GatedMlp mlp;  // its data is valid while it has a slot
    std::array<std::size_t, 3> offsets{};
    int slot = -1;
    bool needed = false;  // by the step at hand, and not computed yet
  };
  struct Layer {
    std::vector<Expert> experts;
    std::vector<Slot> slots;
  };

  void read_ahead() noexcept;
  Slot* free_slot() noexcept;
  void release_wave() noexcept;

  std::vector<Layer> layers_;
  AnonymousMemory memory_;

  // The layer at hand.
  std::atomic_flag busy_;
  Layer* layer_ = nullptr;
  std::vector<int> queue_;  // what is wanted, in the order in which it is computed
  std::size_t wave_begin_ = 0, wave_end_ = 0, n_issued_ = 0;
  std::uint64_t clock_ = 0;
  double last_wait_seconds_ = 0;
  Failure failure_;

  std::atomic<std::uint64_t> hits_{0}, misses_{0}, read_bytes_{0}, waited_ns_{0};
  std::size_t resident_slots_ = 0;
  std::unique_ptr<ExpertReader> reader_;  // last: its threads end before the slots go
};

}  // namespace moebox

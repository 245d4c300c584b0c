// How often each expert was chosen. One thread counts, any thread reads; nothing is locked, and nothing is allocated
// while counting.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace moebox {

/// How evenly the experts of one layer were chosen.
struct ExpertLoad {
  std::uint64_t n_chosen = 0;  // experts, of all tokens together; while it is 0 the rest means nothing
  double max_over_mean = 0;  // the busiest expert's share against an equal one: from 1 (even) to the number of experts
  double entropy = 0;        // of the shares, against that of equal ones: from 0 (always the same expert) to 1 (even)
};

class ExpertLoadCounter {
 public:
  ExpertLoadCounter(int n_layers, int n_experts);

  /// By one thread only.
  void add(int layer, int expert) noexcept {
    auto& count = counts_[static_cast<std::size_t>(layer) * n_experts_ + static_cast<std::size_t>(expert)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// One for each layer. Thread safe; counts of a step that runs meanwhile may be in it in part.
  std::vector<ExpertLoad> read() const;

 private:
  std::size_t n_layers_, n_experts_;
  std::vector<std::atomic<std::uint64_t>> counts_;  // (n_layers, n_experts)
};

}  // namespace moebox

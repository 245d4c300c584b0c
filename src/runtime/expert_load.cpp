#include "runtime/expert_load.h"

#include <algorithm>
#include <cmath>

namespace moebox {
namespace {

ExpertLoad load_of(const std::vector<std::uint64_t>& counts) {
  ExpertLoad load;
  for (const std::uint64_t count : counts) load.n_chosen += count;
  if (load.n_chosen == 0) return load;
  const auto total = static_cast<double>(load.n_chosen);
  const auto n = static_cast<double>(counts.size());
  load.max_over_mean = static_cast<double>(*std::max_element(counts.begin(), counts.end())) * n / total;
  double nats = 0;
  for (const std::uint64_t count : counts) {
    const double share = static_cast<double>(count) / total;
    if (count > 0) nats -= share * std::log(share);
  }
  load.entropy = counts.size() > 1 ? nats / std::log(n) : 1;
  return load;
}

}  // namespace

ExpertLoadCounter::ExpertLoadCounter(int n_layers, int n_experts)
    : n_layers_(static_cast<std::size_t>(n_layers)),
      n_experts_(static_cast<std::size_t>(n_experts)),
      counts_(n_layers_ * n_experts_) {}

std::vector<ExpertLoad> ExpertLoadCounter::read() const {
  std::vector<ExpertLoad> loads;
  std::vector<std::uint64_t> counts(n_experts_);
  for (std::size_t layer = 0; layer < n_layers_; ++layer) {
    for (std::size_t expert = 0; expert < n_experts_; ++expert)
      counts[expert] = counts_[layer * n_experts_ + expert].load(std::memory_order_relaxed);
    loads.push_back(load_of(counts));
  }
  return loads;
}

}  // namespace moebox

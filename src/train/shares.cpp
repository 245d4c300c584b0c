#include "train/shares.h"

#include <algorithm>
#include <numeric>

namespace moebox::train {
namespace {

constexpr std::size_t steps_between = 8;
// Shares that would save less than this are not worth another order of additions.
constexpr double least_gain = 0.03;
constexpr double shortest_second = 1e-9;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Of a step: the slowest rank's.
double step_seconds(const std::vector<std::int64_t>& shares, const std::vector<double>& speeds) {
  double longest = 0;
  for (std::size_t i = 0; i < shares.size(); ++i)
    longest = std::max(longest, static_cast<double>(shares[i]) / speeds[i]);
  return longest;
}

}  // namespace

std::vector<std::int64_t> even_shares(std::int64_t n_sequences, int n_ranks) {
  return shares_by_speed(n_sequences, std::vector<double>(static_cast<std::size_t>(n_ranks), 1.0));
}

std::vector<std::int64_t> shares_by_speed(std::int64_t n_sequences, const std::vector<double>& speeds) {
  // One each, and then the next one to whoever would be done with it first.
  std::vector<std::int64_t> shares(speeds.size(), 1);
  for (auto left = n_sequences - static_cast<std::int64_t>(speeds.size()); left > 0; --left) {
    const auto done_at = [&](std::size_t i) { return static_cast<double>(shares[i] + 1) / speeds[i]; };
    std::size_t first = 0;
    for (std::size_t i = 1; i < speeds.size(); ++i)
      if (done_at(i) < done_at(first)) first = i;
    ++shares[first];
  }
  return shares;
}

void ShareBalance::add(const std::vector<double>& seconds) {
  for (std::size_t i = 0; i < seconds.size(); ++i) seconds_[i].push_back(seconds[i]);
  if (seconds_[0].size() < steps_between) return;
  std::vector<double> speeds;
  for (std::size_t i = 0; i < shares_.size(); ++i)
    speeds.push_back(static_cast<double>(shares_[i]) / std::max(shortest_second, median(seconds_[i])));
  const std::int64_t n_sequences = std::accumulate(shares_.begin(), shares_.end(), std::int64_t{0});
  std::vector<std::int64_t> better = shares_by_speed(n_sequences, speeds);
  if (step_seconds(better, speeds) < (1 - least_gain) * step_seconds(shares_, speeds)) shares_ = std::move(better);
  for (auto& of_rank : seconds_) of_rank.clear();
}

}  // namespace moebox::train

// How a step's sequences are shared among ranks.
#pragma once

#include <cstdint>
#include <vector>

namespace moebox::train {

/// As even as it goes; the first ranks get what is left over. At least one rank, and a sequence for each.
std::vector<std::int64_t> even_shares(std::int64_t n_sequences, int n_ranks);

/// In proportion to how many sequences each rank does in a second; nobody gets none.
std::vector<std::int64_t> shares_by_speed(std::int64_t n_sequences, const std::vector<double>& speeds);

/// Watches how long the ranks take for their shares, and says when others would be quicker.
class ShareBalance {
 public:
  explicit ShareBalance(std::vector<std::int64_t> shares) : shares_(std::move(shares)), seconds_(shares_.size()) {}

  const std::vector<std::int64_t>& shares() const noexcept { return shares_; }
  /// What each rank took for its share in one step. Every few steps the shares may change afterwards.
  void add(const std::vector<double>& seconds);

 private:
  std::vector<std::int64_t> shares_;
  std::vector<std::vector<double>> seconds_;  // by rank, since the shares were looked at last
};

}  // namespace moebox::train

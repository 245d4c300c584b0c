#include "routing/budget.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace moebox {
namespace {

[[noreturn]] void refuse(const char* field, const std::string& expected, const std::string& found) {
  throw Error(ErrorKind::invalid_argument, "expected " + expected + ", found " + found, std::string("moe.") + field);
}

}  // namespace

void RoutingBudget::validate(int top_k) const {
  const std::string most = std::to_string(top_k);
  if (!moe_top_p_range.contains(top_p)) refuse("top_p", "a number " + moe_top_p_range.text(), std::to_string(top_p));
  if (!moe_threshold_range.contains(threshold))
    refuse("threshold", "a number " + moe_threshold_range.text(), std::to_string(threshold));
  if (min_experts < 1 || min_experts > top_k)
    refuse("min_experts", "1 to " + most + " (the model's own number)", std::to_string(min_experts));
  if (max_experts < 0 || max_experts > top_k)
    refuse("max_experts", "1 to " + most + " (the model's own number)", std::to_string(max_experts));
  if (max_experts != 0 && max_experts < min_experts)
    refuse("max_experts", "at least min_experts, which is " + std::to_string(min_experts), std::to_string(max_experts));
}

int kept_experts(const RoutingBudget& budget, std::span<const float> weights) noexcept {
  const int n = static_cast<int>(weights.size());
  if (budget.drops_nothing()) return n;
  const int most = budget.max_experts == 0 ? n : std::min(n, budget.max_experts);
  const int least = std::clamp(budget.min_experts, 1, most);
  float total = 0;
  for (const float weight : weights) total += weight;
  float taken = 0;
  for (int i = 0; i < most; ++i) {
    const float weight = weights[static_cast<std::size_t>(i)];
    const bool enough = budget.top_p < 1.0f && taken >= budget.top_p * total;
    if (i >= least && (enough || weight < budget.threshold * weights[0])) return i;
    taken += weight;
  }
  return most;
}

}  // namespace moebox

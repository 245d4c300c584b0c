// How many of the experts that a gate chose a token may use (docs/routing.md). It drops experts; it never adds one.
#pragma once

#include <span>

#include "base/range.h"

namespace moebox {

inline constexpr int max_experts_of_a_layer = 4096;

/// What the fields of a budget may be, whatever the model: the API, the command line and the engine ask here.
inline constexpr Range moe_top_p_range{0, 1, true, false};
inline constexpr Range moe_threshold_range{0, 1, false, true};
inline constexpr Range moe_experts_range{1, max_experts_of_a_layer};  // of both counts

/// Limits on a token's experts. The default drops nothing: the model is exactly itself.
struct RoutingBudget {
  float top_p = 1.0f;      // experts are taken, best first, until their share of the router's mass reaches this
  float threshold = 0.0f;  // experts whose weight is below this part of the best one's are dropped
  int min_experts = 1;     // taken whatever top_p and threshold say
  int max_experts = 0;     // at most so many; 0: as many as the model's own gate chose. A fixed k is top_p 1 and this

  bool drops_nothing() const noexcept { return top_p >= 1.0f && threshold <= 0.0f && max_experts == 0; }
  bool operator==(const RoutingBudget&) const = default;

  /// Throws Error(invalid_argument) that names the field, its range and the value found. `top_k`: the model's own.
  void validate(int top_k) const;
};

/// How many experts of `weights` are kept: the gate's weights of one token's experts, descending, before normalisation
/// and scaling. Between 1 and weights.size(), which is at least 1.
int kept_experts(const RoutingBudget& budget, std::span<const float> weights) noexcept;

}  // namespace moebox

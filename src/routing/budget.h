// How many of the experts that a gate chose a token may use (docs/routing.md). It drops experts; it never adds one.
#pragma once

#include <span>

namespace moebox {

/// Limits on a token's experts. The default drops nothing: the model is exactly itself.
struct RoutingBudget {
  float top_p = 1.0f;      // experts are taken, best first, until their share of the router's mass reaches this; (0, 1]
  float threshold = 0.0f;  // experts whose weight is below this part of the best one's are dropped; [0, 1)
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

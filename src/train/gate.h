// A layer's gate in training: routing's own choice for every token, with a gradient.
#pragma once

#include "routing/gate.h"
#include "train/torch.h"

namespace moebox::train {

/// What a gate chose for every token.
struct GateOutput {
  Tensor ids;            // (n_tokens, top_k) int64, ascending, then -1 where a token has fewer
  Tensor weights;        // (n_tokens, top_k) float32, 0 where there is no expert
  Tensor dropped_share;  // (n_tokens) float32: of the mass of the model's own choice, by the budget
};

/// Calls choose_experts() for every token: the same experts and the same bits of weights as the engine's, given equal
/// logits. The gradient is analytic: through scale, normalisation over the kept experts, and score; none goes through
/// the choice, nor to `bias`.
/// logits (n_tokens, n_experts) float32; bias (n_experts) float32 or undefined; valid (n_tokens) bool or undefined:
/// tokens that are none (padding) get no experts. `fixed_ids` (n_tokens, top_k), where defined, are the ids of an
/// earlier forward: they get the weights of these logits, and nothing is chosen.
GateOutput apply_gate(const GateSpec& spec, const Tensor& logits, const Tensor& bias, const RoutingBudget& budget,
                      const Tensor& valid = {}, const Tensor& fixed_ids = {});

/// How many tokens each expert has: (n_experts) int64. Every token counts once for each of its experts.
Tensor expert_load(const Tensor& ids, std::int64_t n_experts);

}  // namespace moebox::train

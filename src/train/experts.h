// The chosen experts of every token, weighted and added.
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// Of every token the sum over its experts e of weight * down[e] * swiglu(gate_up[e] * x), in x's type, added by
/// ascending expert.
/// x (n_tokens, hidden_size); ids (n_tokens, top_k) int64, -1 where a token has fewer experts; weights (n_tokens,
/// top_k) float32; gate_up (n_experts, 2 * width, hidden_size), gate first; down (n_experts, hidden_size, width).
Tensor experts(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up, const Tensor& down);

}  // namespace moebox::train

// The operators of train/ops as functions of autograd. Each does what the function of the same name without `cpu_`
// says, which calls it for tensors that is_for_cpu_operators() is true of.
#pragma once

#include "train/rope.h"
#include "train/torch.h"

namespace moebox::train {

Tensor cpu_project(const Tensor& x, const Tensor& weight);
Tensor cpu_rms_norm(const Tensor& x, const Tensor& weight, double epsilon, at::ScalarType type);
Tensor cpu_swiglu(const Tensor& gate_and_up);
/// Pairs keep their places.
Tensor cpu_rotate(const Tensor& x, const RopeTable& table);
Tensor cpu_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& documents, double scale);
Tensor cpu_experts(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up,
                   const Tensor& down);
/// targets: those outside the vocabulary were refused, those below 0 have no part in it.
Tensor cpu_cross_entropy(const Tensor& rows, const Tensor& head, const Tensor& targets, std::int64_t chunk);

/// Latent attention from its projections on, in one: q (n_tokens, heads * (nope + rope)), kv (n_tokens, heads * (nope +
/// value_dim)) and k_rope (n_tokens, rope), neither rotated: (n_tokens, heads * value_dim).
struct LatentAttention {
  std::int64_t n_sequences, length, n_heads, nope_dim, value_dim;
  double scale;
};
Tensor cpu_latent_attention(const Tensor& q, const Tensor& kv, const Tensor& k_rope, const Tensor& documents,
                            const RopeTable& table, const LatentAttention& shape);

}  // namespace moebox::train

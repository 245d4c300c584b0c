#include "train/feed_forward.h"

#include <cmath>

#include "base/error.h"
#include "train/attention.h"
#include "train/expert_ranks.h"
#include "train/experts.h"
#include "train/gate.h"
#include "train/projection.h"
#include "train/swiglu.h"
#include "train/tensor_ranks.h"

namespace moebox::train {
namespace {

constexpr std::int64_t gate_and_up = 2;  // one behind the other

/// Of these ranks this one's share, without the last bias.
Tensor dense_share(const DenseWeights& weights, const Tensor& x, const World* ranks) {
  const Tensor inner = project(x, share_of(weights.gate_up, 0, ranks, gate_and_up),
                               share_of(weights.gate_up_bias, 0, ranks, gate_and_up));
  return project(swiglu(inner), share_of(weights.down, 1, ranks));
}

Tensor dense(const DenseWeights& weights, const Tensor& x, World* ranks) {
  return with_bias(add_up_shares(dense_share(weights, x, ranks), ranks), weights.down_bias);
}

/// What the router's matrix multiplies, in float32: the token's row, or what the gate's attention says of it.
Tensor router_input(const MoeWeights& weights, const Tensor& x, const Pass& pass) {
  const Tensor rows = x.to(at::kFloat);
  if (!weights.router_q.defined()) return rows;
  const GateAttentionSpec& spec = weights.gate.attention;
  const auto heads = [&](const Tensor& matrix) { return pass.heads(project(rows, matrix), spec.n_heads); };
  return pass.rows(attention(heads(weights.router_q), heads(weights.router_k), heads(weights.router_v), pass.documents,
                             1.0 / std::sqrt(static_cast<double>(spec.head_dim))));
}

/// Of chosen experts; -1 stays.
Tensor places_of(const Tensor& ids, const Tensor& places) {
  const Tensor found = places.index_select(0, ids.clamp_min(0).reshape(-1)).reshape(ids.sizes());
  return at::where(ids.lt(0), ids, found);
}

/// Of the ranks that compute the layer together this one's share.
Tensor moe_share(const MoeWeights& weights, const Tensor& x, int layer, Pass& pass) {
  const Tensor logits = project(router_input(weights, x, pass), weights.router);
  const std::size_t index = pass.routing.size();
  const Tensor fixed = pass.fixed_ids.empty() ? Tensor() : pass.fixed_ids.at(index);
  const GateOutput chosen = apply_gate(weights.gate, logits, weights.bias, pass.budget, pass.valid, fixed);
  pass.routing.push_back({layer, weights.gate, logits, chosen.ids, chosen.dropped_share, weights.bias});
  const bool all_are_here = pass.experts == nullptr || pass.experts->size() == 1;
  const Tensor gate_up = share_of(weights.gate_up, 1, pass.tensor, gate_and_up);
  const Tensor down = share_of(weights.down, 2, pass.tensor);
  const Tensor sum = all_are_here ? experts(x, chosen.ids, chosen.weights, gate_up, down)
                                  : experts_of_ranks(x, places_of(chosen.ids, weights.places), chosen.weights, gate_up,
                                                     down, *pass.experts);
  if (!weights.shared.gate_up.defined()) return sum;
  const Tensor shared = dense_share(weights.shared, x, pass.tensor);
  if (!weights.shared_gate.defined()) return sum + shared;
  return sum + at::sigmoid(project(x, weights.shared_gate)) * shared;
}

}  // namespace

FeedForward add_dense(WeightSet& weights, int layer, bool bias) {
  FeedForward added;
  added.dense.gate_up = weights.add({"ffn_gate", "ffn_up"}, layer);
  added.dense.down = weights.add({"ffn_down"}, layer);
  if (!bias) return added;
  added.dense.gate_up_bias = weights.add({"ffn_gate_bias", "ffn_up_bias"}, layer);
  added.dense.down_bias = weights.add({"ffn_down_bias"}, layer);
  return added;
}

FeedForward add_moe(WeightSet& weights, int layer, const GateSpec& gate, int shared_intermediate_size,
                    bool shared_gate) {
  FeedForward added;
  MoeWeights& moe = added.moe;
  moe.gate = gate;
  moe.router = weights.add({"router"}, layer);
  moe.bias = weights.add({"router_bias"}, layer);
  moe.router_q = weights.add({"router_q"}, layer);
  moe.router_k = weights.add({"router_k"}, layer);
  moe.router_v = weights.add({"router_v"}, layer);
  moe.gate_up = weights.add_experts({"expert_gate", "expert_up"}, layer, gate.n_experts);
  moe.down = weights.add_experts({"expert_down"}, layer, gate.n_experts);
  moe.places = weights.places(layer);
  if (shared_intermediate_size == 0) return added;
  moe.shared.gate_up = weights.add({"shared_gate", "shared_up"}, layer);
  moe.shared.down = weights.add({"shared_down"}, layer);
  if (shared_gate) moe.shared_gate = weights.add({"shared_expert_gate"}, layer);
  return added;
}

Tensor feed_forward(const FeedForward& weights, const Tensor& x, int layer, Pass& pass) {
  if (weights.moe.gate.n_experts == 0) return dense(weights.dense, x, pass.tensor);
  return add_up_shares(moe_share(weights.moe, x, layer, pass), pass.tensor);
}

}  // namespace moebox::train

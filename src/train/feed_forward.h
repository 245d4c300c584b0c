// A layer's feed-forward: one gated network, or experts behind a gate. The roles of its tensors are the same in every
// architecture's table.
#pragma once

#include "train/pass.h"

namespace moebox::train {

/// down * swiglu(gate_up * x).
struct DenseWeights {
  Tensor gate_up, gate_up_bias;  // (2 * width, hidden_size), gate first
  Tensor down, down_bias;        // (hidden_size, width)
};

struct MoeWeights {
  GateSpec gate;
  Tensor router;                        // (n_experts, hidden_size), or what the gate's attention computes
  Tensor bias;                          // (n_experts): a statistic; undefined: none
  Tensor router_q, router_k, router_v;  // the gate's own attention (docs/routing.md); undefined: none
  Tensor gate_up, down;                 // (n_experts, 2 * width, hidden_size), (n_experts, hidden_size, width)
  Tensor places;                        // of experts that several ranks hold (WeightSet); undefined: all are here
  DenseWeights shared;                  // undefined: none
  Tensor shared_gate;                   // (1, hidden_size): scales the shared expert by a sigmoid; undefined: not
};

struct FeedForward {
  DenseWeights dense;  // either these
  MoeWeights moe;      // or these: moe.gate.n_experts > 0
};

FeedForward add_dense(WeightSet& weights, int layer, bool bias);
/// `shared_intermediate_size` 0: no shared expert.
FeedForward add_moe(WeightSet& weights, int layer, const GateSpec& gate, int shared_intermediate_size,
                    bool shared_gate);

/// x (n_tokens, hidden_size), normed: the same shape, in x's type. A gate writes down what it did in pass.routing.
Tensor feed_forward(const FeedForward& weights, const Tensor& x, int layer, Pass& pass);

}  // namespace moebox::train

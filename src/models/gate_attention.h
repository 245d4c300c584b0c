// The self-attention of an attention-fed gate (docs/routing.md): a token's normed row in, the router's input out. Its
// keys and values lie in the KV cache behind the model's own. It has no positions but the causal order.
#pragma once

#include "models/attention.h"
#include "models/step.h"
#include "models/weights.h"
#include "routing/gate.h"
#include "spec/tensor_table.h"

namespace moebox {

struct GateAttentionWeights {
  PackedMatrix q, k, v;  // (n_heads * head_dim, hidden_size)

  ActivationTypes types() const { return {&q, &k, &v}; }
  std::size_t bytes() const noexcept { return bytes_of(q) + bytes_of(k) + bytes_of(v); }
  std::int64_t products() const noexcept { return products_of(q) + products_of(k) + products_of(v); }
};

/// Takes a layer's "router_q", "router_k" and "router_v". Throws Error(invalid_file) where one is not finite.
void load_gate_attention(TensorFinder& find, WeightPacker& packer, int layer, GateAttentionWeights& weights);

/// The shape of its cache: every head has keys and values of its own.
KvShape gate_kv_shape(const GateAttentionSpec& spec, KvType type) noexcept;

class GateAttention {
 public:
  struct Sizes {
    int hidden_size = 0;
    KvShape kv;  // gate_kv_shape()
    ActivationTypes types;
  };
  GateAttention(const Sizes& sizes, int max_tokens, int max_positions, int n_threads);

  std::size_t size() const noexcept;  // bytes
  /// One member calls it before the first layer, and a barrier must follow.
  void prepare(const Batch& batch, int n_threads) noexcept { plan_.prepare(batch, n_threads); }
  /// Stores keys and values of normed (n_tokens, hidden_size) and attends. All members call it; ends with a barrier.
  /// `kv` holds the gates' blocks; `moe_layer` counts layers with experts.
  void run(const Step& step, const GateAttentionWeights& weights, const KvBlocks& kv, int moe_layer,
           const AlignedBuffer& normed) noexcept;
  /// What run() left (n_tokens, n_values()).
  const AlignedBuffer& output() const noexcept { return attended_; }

 private:
  void store(const Step& step, const KvBlocks& kv, int moe_layer) noexcept;

  Sizes sizes_;
  int n_values_;  // of a token's query, key, value and output
  AttentionPlan plan_;
  Activations activations_;
  AlignedBuffer q_, k_, v_, attended_;  // (max_tokens, n_values)
};

}  // namespace moebox

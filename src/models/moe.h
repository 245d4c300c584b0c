// A layer of experts: the router's product, the gate (routing/gate.h), the experts, and the sum of what they say.
// Dense layers take the same way with one expert for all tokens.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/expert_cache.h"
#include "models/experts.h"
#include "models/gate_attention.h"
#include "models/weights.h"
#include "routing/gate.h"
#include "spec/tensor_table.h"

namespace moebox {

struct MoeWeights {
  GateAttentionWeights attention;  // where the gate has one
  PackedMatrix router;             // (n_experts, hidden_size), or what the gate's attention computes
  std::vector<float> router_bias;  // (n_experts): for the choice; empty: none
  std::vector<GatedMlp> experts;   // (n_experts); without data where there is a cache
  ExpertCache* cache = nullptr;    // where the experts are not all in memory
  GatedMlp shared;                 // taken by every token; rows 0: none
  std::vector<float> shared_gate;  // (hidden_size): sigmoid(x . gate) scales the shared expert; empty: none
  ActivationTypes input_types;     // of all of them
  bool has_shared() const noexcept { return shared.gate.n_rows > 0; }
  /// Bytes that one token reads, with the model's own number of experts of mean size.
  std::size_t read_bytes_per_token(int top_k) const noexcept;
  /// Multiply-adds of one token, with as many experts.
  std::int64_t products_per_token(int top_k) const noexcept;
};

/// What a layer of experts consists of.
struct MoeParts {
  const GateSpec& gate;
  bool shared = false;       // an expert that every token takes
  bool shared_gate = false;  // whose output is scaled by a sigmoid
};

/// Takes a layer's tensors by the roles "router", "router_bias", "expert_gate" and so on, "shared_gate" and so on
/// (where there is a shared expert) and "shared_expert_gate" (where its output is scaled). `weights` must stay where it
/// is until they are packed. Throws Error(invalid_file) when a router or its bias is not finite.
void load_moe(const MoeParts& parts, TensorFinder& find, WeightPacker& packer, int layer, MoeWeights& weights);

/// What the feed-forwards of a model have in common, for the memory of a step.
struct MoeSizes {
  int hidden_size = 0;
  int dense_size = 0;   // inner size of dense layers; 0: none
  int expert_size = 0;  // of one routed expert
  int shared_size = 0;  // of the shared experts; 0: none
  GateSpec gate;
  KvShape gate_kv;  // of the gate's attention, where it has one
  ActivationTypes gate_attention_types, router_types, input_types, inner_types;

  /// Notes the types that a layer of experts needs.
  void add(const MoeWeights& weights) {
    router_types |= ActivationTypes{&weights.router};
    if (gate.attention.n_heads > 0) gate_attention_types |= weights.attention.types();
    add_mlps(weights.experts);
    if (weights.has_shared()) add_mlps({&weights.shared, 1});
  }
  /// The same of feed-forwards.
  void add_mlps(std::span<const GatedMlp> mlps) {
    for (const GatedMlp& mlp : mlps) {
      input_types |= mlp.input_types();
      inner_types |= mlp.inner_types();
    }
  }
};

/// Memory of a step, and the layers' forward.
class MoeRunner {
 public:
  MoeRunner(const MoeSizes& sizes, int max_tokens, int max_positions, int n_threads);

  std::size_t size() const noexcept {  // bytes
    return activations_.size() + batch_.size() + logits_.size() + (attention_ ? attention_->size() : 0);
  }
  /// One member calls it before the first layer, and a barrier must follow.
  void prepare(const Batch& batch, int n_threads) noexcept {
    if (attention_) attention_->prepare(batch, n_threads);
  }
  /// Forgets what could not be read. Before the step, by one thread.
  void begin_step() noexcept { failed_cache_ = nullptr; }
  /// Throws Error(io) when an expert could not be read since then.
  void check_step() const {
    if (failed_cache_ != nullptr) failed_cache_->raise(failure_);
  }
  /// x (n_tokens, hidden_size) += the layer of x, normed by `norm`. `moe_layer` counts layers with experts. All members
  /// call it; ends with a barrier. `normed` like x is scratch; `gate_kv` is gate_blocks() of the cache.
  void run(const Step& step, const MoeWeights& weights, const std::vector<float>& norm, float epsilon, int moe_layer,
           const KvBlocks& gate_kv, const AlignedBuffer& x, const AlignedBuffer& normed) noexcept;
  /// The same for a dense layer.
  void run_dense(const Step& step, const GatedMlp& mlp, const std::vector<float>& norm, float epsilon,
                 const AlignedBuffer& x, const AlignedBuffer& normed) noexcept;

 private:
  void norm_rows(const Step& step, const std::vector<float>& norm, float epsilon, const AlignedBuffer& x,
                 const AlignedBuffer& normed) const noexcept;
  void route(const Step& step, const MoeWeights& weights, int moe_layer) noexcept;
  void sort_tokens(const Step& step, const MoeWeights& weights) noexcept;
  std::span<const int> tokens_of(int expert) const noexcept;
  int first_row_of(int expert, const MoeWeights& weights, int n_tokens) const noexcept;
  void run_experts(const Step& step, const MoeWeights& weights) noexcept;
  void run_cached_experts(const Step& step, const MoeWeights& weights, int moe_layer) noexcept;
  void add_outputs(const Step& step, const MoeWeights& weights, const AlignedBuffer& x,
                   const AlignedBuffer& normed) noexcept;

  MoeSizes sizes_;
  int router_columns_;
  std::optional<GateAttention> attention_;
  Activations activations_;  // of the router's input
  ExpertBatch batch_;
  AlignedBuffer logits_;               // (max_tokens, n_experts)
  std::vector<GateScratch> scratch_;   // (n_threads)
  std::vector<ChosenExpert> chosen_;   // (max_tokens, top_k)
  std::vector<int> n_chosen_;          // (max_tokens)
  std::vector<int> chosen_rows_;       // (max_tokens, top_k): the row of ExpertBatch that holds the output
  std::vector<int> tokens_by_expert_;  // (max_tokens * top_k), and where each expert's begin (n_experts + 1)
  std::vector<int> expert_begin_;
  std::vector<int> wanted_;  // experts that have tokens, where there is a cache
  bool more_waves_ = false;
  const ExpertCache* failed_cache_ = nullptr;  // since the last begin_step()
  ExpertCache::Failure failure_;
  std::vector<int> all_tokens_;  // 0, 1, 2 ...
};

}  // namespace moebox

// What all layers of one forward share.
#pragma once

#include "train/model.h"
#include "train/rope.h"

namespace moebox::train {

struct Pass {
  /// Checks the batch's shapes and types, and its tokens against the vocabulary. Throws Error(invalid_argument).
  Pass(const Batch& batch, const ForwardOptions& options, const ModelSizes& sizes, const RopeSpec& rope,
       const at::Device& device);

  std::int64_t n_sequences, length;
  at::ScalarType type;
  RoutingBudget budget;
  bool recompute;
  World* experts = nullptr;  // the ranks that hold the experts together; nothing: all are here
  World* tensor = nullptr;   // the ranks that compute each layer together; nothing: this one does
  Tensor tokens;             // (n_tokens) int64
  Tensor documents;          // (batch, length) int32; undefined: none
  Tensor valid;              // (n_tokens) bool; undefined: all
  RopeTable rope;
  std::vector<Tensor> fixed_ids;  // one for each layer with experts, or none
  std::vector<LayerRouting> routing;

  /// (n_tokens, heads * dim) as (batch, length, heads, dim).
  Tensor heads(const Tensor& x, std::int64_t n_heads) const {
    return x.reshape({n_sequences, length, n_heads, x.size(1) / n_heads});
  }
  Tensor rows(const Tensor& x) const { return x.reshape({n_sequences * length, -1}); }
};

}  // namespace moebox::train

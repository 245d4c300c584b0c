// A language model as the trainer sees it: tokens in, rows before the output matrix out, with gradients. The same spec
// describes it as the engine's model; nothing of the engine is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "routing/gate.h"
#include "train/weights.h"
#include "train/world.h"

namespace moebox::train {

/// Tokens to learn from, as the loader packs them.
struct Batch {
  Tensor tokens;     // (batch, length) int64; padding has any id
  Tensor targets;    // (batch, length) int64: the next token, or no_target where no loss is taken
  Tensor documents;  // (batch, length) int32: which document of its row a token is of, -1: padding; undefined: each row
                     // is one document
  std::int64_t n_sequences() const { return tokens.size(0); }
  std::int64_t length() const { return tokens.size(1); }
};

struct ForwardOptions {
  at::ScalarType type = at::kFloat;  // of the products: float32 or bfloat16; weights and the residual are float32
  RoutingBudget budget{};
  /// One (n_tokens, top_k) for each layer with experts, of an earlier forward: nothing is chosen again. Empty: the
  /// gates choose.
  std::vector<Tensor> fixed_ids{};
  bool recompute = false;  // gradient checkpointing: layers are computed again in the backward pass
};

/// What a layer's gate did.
struct LayerRouting {
  int layer;
  GateSpec gate;
  Tensor logits;         // (n_tokens, n_experts) float32
  Tensor ids;            // (n_tokens, top_k) int64, -1 where a token has fewer
  Tensor dropped_share;  // (n_tokens)
  Tensor bias;           // the gate's correction bias (n_experts); undefined: none
};

struct ForwardResult {
  Tensor rows;                        // (n_tokens, hidden_size) behind the last norm, in the type of the products
  std::vector<Tensor> further_rows;   // the same of each layer that predicts a further token
  std::vector<LayerRouting> routing;  // of the layers with experts, those that predict further tokens behind the others
  Tensor valid;                       // (n_tokens) bool: no padding; undefined: all
};

struct ModelSizes {
  std::string architecture;  // "deepseek_v3"
  std::int64_t vocab_size = 0, hidden_size = 0, max_context = 0;
};

class Model {
 public:
  virtual ~Model() = default;

  virtual ForwardResult forward(const Batch& batch, const ForwardOptions& options) const = 0;
  /// The output matrix (vocab_size, hidden_size): of the model itself, and of its i-th layer that predicts a further
  /// token.
  virtual const Tensor& head() const = 0;
  virtual const Tensor& further_head(std::size_t i) const = 0;
  /// What the folder's config.json says of this model, so that spec reads the same sizes again.
  virtual nlohmann::json config() const = 0;

  virtual const ModelSizes& sizes() const = 0;
  virtual const WeightSet& weights() const = 0;
  /// Of the weights, those that a token multiplies: all but the experts that it does not choose, and the embedding.
  virtual std::int64_t n_active_parameters() const = 0;
  /// What the model's gates take without a budget; 1 for a dense model.
  virtual int max_experts_per_token() const = 0;
};

struct ModelOptions {
  bool further_tokens = false;  // train the layers that predict further tokens (MTP), where the model has them
  at::Device device = at::kCPU;
  std::shared_ptr<World> experts{};  // ranks that hold each layer's experts together; nothing: all are here
  std::shared_ptr<World> tensor{};   // ranks that compute each layer together (tensor_ranks.h); nothing: one does
};

inline ExpertSplit expert_split(const ModelOptions& options) {
  return options.experts ? ExpertSplit{options.experts->rank(), options.experts->size()} : ExpertSplit{};
}

/// The model of a checkpoint, with its weights; or, of a checkpoint without tensors (Checkpoint::describe()), with
/// weights that draw_weights() must fill. Throws Error that names what is not implemented.
std::unique_ptr<Model> make_model(const Checkpoint& checkpoint, const ModelOptions& options);

}  // namespace moebox::train

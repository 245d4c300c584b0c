#include "train/deepseek.h"

#include "base/error.h"
#include "spec/deepseek.h"
#include "train/cross_entropy.h"
#include "train/feed_forward.h"
#include "train/load_weights.h"
#include "train/mla.h"
#include "train/norm.h"
#include "train/projection.h"
#include "train/recompute.h"
#include "train/spec_config.h"
#include "train/tensor_ranks.h"

namespace moebox::train {
namespace {

struct DeepseekLayer {
  Tensor attn_norm, ffn_norm;  // (hidden_size)
  MlaWeights attention;
  FeedForward feed_forward;
};

/// What a layer that predicts a further token has beside an ordinary one (DeepSeek-V3, section 2.2).
struct FurtherLayer {
  DeepseekLayer layer;
  Tensor embedding;                // (vocab_size, hidden_size): its own, or the model's
  Tensor token_norm, hidden_norm;  // (hidden_size)
  Tensor projection;               // (hidden_size, 2 * hidden_size): the token's part comes first
  Tensor output_norm, output;      // (hidden_size), (vocab_size, hidden_size): its own, or the model's
};

class DeepseekModel : public Model {
 public:
  DeepseekModel(const DeepseekSpec& spec, int n_further_layers, const ModelOptions& options)
      : spec_(spec),
        device_(options.device),
        experts_(options.experts),
        tensor_(options.tensor),
        sizes_{spec.architecture, spec.vocab_size, spec.hidden_size, spec.max_context},
        weights_(deepseek_tensors(spec), options.device, expert_split(options)) {
    check_shares(options, spec.mla.n_heads, "attention heads");
    check_shares(options, spec.n_dense_layers > 0 ? spec.intermediate_size : 0, "inner rows of a dense layer");
    check_shares(options, spec.gate.n_experts > 0 ? spec.moe_intermediate_size : 0, "inner rows of an expert");
    check_shares(options, spec.shared_intermediate_size, "inner rows of the shared experts");
    embedding_ = weights_.add({"embedding"});
    for (int i = 0; i < spec.n_layers; ++i) layers_.push_back(add_layer(i));
    output_norm_ = weights_.add({"output_norm"});
    output_ = weights_.add({"output"});
    if (!output_.defined()) output_ = embedding_;
    for (int i = 0; i < n_further_layers; ++i) further_.push_back(add_further(spec.n_layers + i));
  }

  ForwardResult forward(const Batch& batch, const ForwardOptions& options) const override {
    Pass pass(batch, options, sizes_, spec_.mla.rope, device_);
    pass.experts = experts_.get();
    pass.tensor = tensor_.get();
    Tensor x = at::embedding(embedding_, pass.tokens);
    for (int i = 0; i < spec_.n_layers; ++i) x = layer(layers_[static_cast<std::size_t>(i)], x, i, pass);
    ForwardResult result;
    result.rows = rms_norm(x, output_norm_, spec_.rms_epsilon, pass.type);
    for (std::size_t i = 0; i < further_.size(); ++i)
      result.further_rows.push_back(
          run_further(further_[i], i == 0 ? result.rows : result.further_rows.back(), static_cast<int>(i), pass));
    result.routing = std::move(pass.routing);
    result.valid = pass.valid;
    return result;
  }

  const Tensor& head() const override { return output_; }
  const Tensor& further_head(std::size_t i) const override { return further_.at(i).output; }
  nlohmann::json config() const override { return deepseek_config(spec_, static_cast<int>(further_.size())); }
  const ModelSizes& sizes() const override { return sizes_; }
  const WeightSet& weights() const override { return weights_; }

  std::int64_t n_active_parameters() const override {
    return weights_.n_active(spec_.n_layers, spec_.gate.top_k, spec_.tied_embeddings);
  }
  int max_experts_per_token() const override { return spec_.gate.top_k; }

 private:
  DeepseekLayer add_layer(int layer) {
    DeepseekLayer added;
    added.attn_norm = weights_.add({"attn_norm"}, layer);
    added.attention = add_mla(weights_, spec_.mla, layer);
    added.ffn_norm = weights_.add({"ffn_norm"}, layer);
    added.feed_forward = layer < spec_.n_dense_layers
                             ? add_dense(weights_, layer, false)
                             : add_moe(weights_, layer, spec_.gate, spec_.shared_intermediate_size, false);
    return added;
  }

  FurtherLayer add_further(int layer) {
    FurtherLayer added;
    added.embedding = weights_.add({"mtp_embedding"}, layer);
    if (!added.embedding.defined()) added.embedding = embedding_;
    added.token_norm = weights_.add({"mtp_token_norm"}, layer);
    added.hidden_norm = weights_.add({"mtp_hidden_norm"}, layer);
    added.projection = weights_.add({"mtp_projection"}, layer);
    added.layer = add_layer(layer);
    added.output_norm = weights_.add({"mtp_output_norm"}, layer);
    added.output = weights_.add({"mtp_output"}, layer);
    if (!added.output.defined()) added.output = output_;
    return added;
  }

  /// x (n_tokens, hidden_size) float32.
  Tensor layer(const DeepseekLayer& weights, const Tensor& x, int index, Pass& pass) const {
    const auto compute = [this, &weights, index](const Tensor& rows, Pass& of_layer) {
      const auto normed = [&](const Tensor& y, const Tensor& norm) {
        return rms_norm(y, norm, spec_.rms_epsilon, of_layer.type);
      };
      const Tensor attended = rows + mla(spec_.mla, weights.attention, normed(rows, weights.attn_norm), of_layer);
      return attended + feed_forward(weights.feed_forward, normed(attended, weights.ffn_norm), index, of_layer);
    };
    return run_layer(compute, x, pass);
  }

  /// Of a position's row, and of the token that follows `further` places on, what the next one will be. The last
  /// places of a row have no such token: they get the row's first ones, and their result has no target.
  Tensor run_further(const FurtherLayer& further, const Tensor& rows, int index, Pass& pass) const {
    const Tensor following = pass.tokens.reshape({pass.n_sequences, pass.length}).roll(-(index + 1), 1).reshape(-1);
    const double epsilon = spec_.rms_epsilon;
    const Tensor token = rms_norm(at::embedding(further.embedding, following), further.token_norm, epsilon, pass.type);
    const Tensor hidden = rms_norm(rows, further.hidden_norm, epsilon, pass.type);
    const Tensor pairs = project(at::cat({token, hidden}, 1), further.projection).to(at::kFloat);
    return rms_norm(layer(further.layer, pairs, spec_.n_layers + index, pass), further.output_norm, epsilon, pass.type);
  }

  const DeepseekSpec spec_;
  const at::Device device_;
  const std::shared_ptr<World> experts_, tensor_;
  const ModelSizes sizes_;
  WeightSet weights_;
  Tensor embedding_, output_norm_, output_;
  std::vector<DeepseekLayer> layers_;
  std::vector<FurtherLayer> further_;
};

/// kv_b of a file that has k_b (heads, rank, nope) and v_b (heads, v, rank) apart.
void load_split_kv_b(const WeightSet& weights, const MlaSpec& mla, TensorFinder& find) {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights.all()) {
    if (weight.parts.front().role != "attn_kv_b") continue;
    const int layer = weight.parts.front().layer;
    const Tensor k = read_tensor(find, find.get("attn_k_b", layer)).transpose(1, 2);
    const Tensor v = read_tensor(find, find.get("attn_v_b", layer));
    weight.values.detach().copy_(at::cat({k, v}, 1).reshape({-1, mla.kv_lora_rank}));
  }
}

}  // namespace

std::unique_ptr<Model> make_deepseek(const Checkpoint& checkpoint, const ModelOptions& options) {
  DeepseekSpec spec = read_deepseek(checkpoint);
  const bool from_files = !checkpoint.files().empty();
  if (options.further_tokens) {
    if (from_files || spec.n_mtp_layers == 0) check_mtp(spec, checkpoint);
    if (spec.gate.attention.n_heads > 0)
      throw Error(ErrorKind::unsupported,
                  "a layer that predicts further tokens is not implemented for gates with an attention of their own",
                  "gate_attention");
  }
  // Of several the files that exist have the first one only, and the engine uses that one.
  const int n_further = !options.further_tokens ? 0 : from_files ? 1 : spec.n_mtp_layers;
  const MlaSpec stored = spec.mla;
  spec.mla.split_kv_b = false;
  auto model = std::make_unique<DeepseekModel>(spec, n_further, options);
  if (!from_files) return model;
  spec.mla.split_kv_b = stored.split_kv_b;
  TensorFinder find(checkpoint, deepseek_tensors(spec), deepseek_ignored(spec, checkpoint.format(), n_further));
  if (stored.split_kv_b) {
    load_weights(model->weights(), find, {"attn_kv_b"});
    load_split_kv_b(model->weights(), stored, find);
  } else {
    load_weights(model->weights(), find);
  }
  find.finish();
  return model;
}

}  // namespace moebox::train

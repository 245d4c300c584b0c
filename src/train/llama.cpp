#include "train/llama.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/attention.h"
#include "train/feed_forward.h"
#include "train/load_weights.h"
#include "train/norm.h"
#include "train/projection.h"
#include "train/recompute.h"
#include "train/spec_config.h"
#include "train/tensor_ranks.h"

namespace moebox::train {
namespace {

struct LlamaLayer {
  Tensor attn_norm, ffn_norm;              // (hidden_size)
  Tensor q, k, v, q_bias, k_bias, v_bias;  // (heads * head_dim, hidden_size) ...
  Tensor q_norm, k_norm;                   // (head_dim) or (heads * head_dim)
  Tensor output, output_bias;              // (hidden_size, heads * head_dim), (hidden_size)
  FeedForward feed_forward;
};

class LlamaModel : public Model {
 public:
  LlamaModel(const LlamaSpec& spec, std::string_view hf_class, const ModelOptions& options)
      : spec_(spec),
        hf_class_(hf_class),
        device_(options.device),
        experts_(options.experts),
        tensor_(options.tensor),
        sizes_{spec.architecture, spec.vocab_size, spec.hidden_size, spec.max_context},
        weights_(llama_tensors(spec, Checkpoint::Format::hugging_face), options.device, expert_split(options)) {
    if (spec.qk_norm != QkNorm::all_heads) {
      check_shares(options, spec.n_heads, "attention heads");
      check_shares(options, spec.n_kv_heads, "heads of keys and values");
    }
    const ExpertsSpec& experts = spec.experts;
    bool any_dense = false;
    for (int i = 0; i < spec.n_layers; ++i) any_dense = any_dense || !experts.in_layer(i);
    check_shares(options, any_dense ? spec.intermediate_size : 0, "inner rows of a dense layer");
    check_shares(options, experts.intermediate_size, "inner rows of an expert");
    check_shares(options, experts.shared_intermediate_size, "inner rows of the shared experts");
    embedding_ = weights_.add({"embedding"});
    for (int i = 0; i < spec.n_layers; ++i) layers_.push_back(add_layer(i));
    output_norm_ = weights_.add({"output_norm"});
    output_ = weights_.add({"output"});
    if (!output_.defined()) output_ = embedding_;
  }

  ForwardResult forward(const Batch& batch, const ForwardOptions& options) const override {
    Pass pass(batch, options, sizes_, spec_.rope, device_);
    pass.experts = experts_.get();
    pass.tensor = tensor_.get();
    const double epsilon = spec_.rms_epsilon;
    Tensor x = at::embedding(embedding_, pass.tokens);
    for (int i = 0; i < spec_.n_layers; ++i) {
      const auto layer = [this, i](const Tensor& rows, Pass& of_layer) { return compute_layer(rows, i, of_layer); };
      x = run_layer(layer, x, pass);
    }
    ForwardResult result;
    result.rows = rms_norm(x, output_norm_, epsilon, pass.type);
    result.routing = std::move(pass.routing);
    result.valid = pass.valid;
    return result;
  }

  const Tensor& head() const override { return output_; }
  const Tensor& further_head(std::size_t) const override {
    throw Error(ErrorKind::internal, "this architecture has no layers that predict further tokens");
  }
  nlohmann::json config() const override { return llama_config(spec_, hf_class_); }
  const ModelSizes& sizes() const override { return sizes_; }
  const WeightSet& weights() const override { return weights_; }

  std::int64_t n_active_parameters() const override {
    return weights_.n_active(spec_.n_layers, spec_.experts.gate.top_k, spec_.tied_embeddings);
  }
  int max_experts_per_token() const override { return std::max(1, spec_.experts.gate.top_k); }

 private:
  LlamaLayer add_layer(int layer) {
    LlamaLayer added;
    added.attn_norm = weights_.add({"attn_norm"}, layer);
    added.q = weights_.add({"attn_q"}, layer);
    added.k = weights_.add({"attn_k"}, layer);
    added.v = weights_.add({"attn_v"}, layer);
    added.q_bias = weights_.add({"attn_q_bias"}, layer);
    added.k_bias = weights_.add({"attn_k_bias"}, layer);
    added.v_bias = weights_.add({"attn_v_bias"}, layer);
    added.q_norm = weights_.add({"attn_q_norm"}, layer);
    added.k_norm = weights_.add({"attn_k_norm"}, layer);
    added.output = weights_.add({"attn_output"}, layer);
    added.output_bias = weights_.add({"attn_output_bias"}, layer);
    added.ffn_norm = weights_.add({"ffn_norm"}, layer);
    const ExpertsSpec& experts = spec_.experts;
    added.feed_forward = experts.in_layer(layer) ? add_moe(weights_, layer, experts.gate,
                                                           experts.shared_intermediate_size, experts.shared_gate)
                                                 : add_dense(weights_, layer, spec_.mlp_bias);
    return added;
  }

  Tensor compute_layer(const Tensor& x, int index, Pass& pass) const {
    const LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
    const double epsilon = spec_.rms_epsilon;
    const Tensor attended = x + attend(layer, rms_norm(x, layer.attn_norm, epsilon, pass.type), pass);
    return attended +
           feed_forward(layer.feed_forward, rms_norm(attended, layer.ffn_norm, epsilon, pass.type), index, pass);
  }

  /// Queries or keys (batch, length, heads, head_dim), normed where the architecture norms them, and rotated.
  Tensor rotated_heads(const Tensor& x, const Tensor& norm, std::int64_t n_heads, const Pass& pass) const {
    const double epsilon = spec_.rms_epsilon;
    Tensor rows = spec_.qk_norm == QkNorm::all_heads ? rms_norm(x, norm, epsilon, pass.type) : x;
    Tensor heads = pass.heads(rows, n_heads);
    if (spec_.qk_norm == QkNorm::each_head) heads = rms_norm(heads, norm, epsilon, pass.type);
    return rotate(heads, pass.rope);
  }

  /// A norm over all heads wants them all: then every rank computes the whole attention.
  World* ranks_of_heads(const Pass& pass) const { return spec_.qk_norm == QkNorm::all_heads ? nullptr : pass.tensor; }

  Tensor attend(const LlamaLayer& layer, const Tensor& x, const Pass& pass) const {
    World* const ranks = ranks_of_heads(pass);
    const std::int64_t n_heads = share_of(spec_.n_heads, ranks), n_kv_heads = share_of(spec_.n_kv_heads, ranks);
    const auto of_heads = [&](const Tensor& weight, const Tensor& bias) {
      return project(x, share_of(weight, 0, ranks), share_of(bias, 0, ranks));
    };
    const Tensor q = rotated_heads(of_heads(layer.q, layer.q_bias), layer.q_norm, n_heads, pass);
    const Tensor k = rotated_heads(of_heads(layer.k, layer.k_bias), layer.k_norm, n_kv_heads, pass);
    const Tensor v = pass.heads(of_heads(layer.v, layer.v_bias), n_kv_heads);
    const Tensor attended = attention(q, k, v, pass.documents, 1.0 / std::sqrt(static_cast<double>(spec_.head_dim)));
    const Tensor sum = add_up_shares(project(pass.rows(attended), share_of(layer.output, 1, ranks)), ranks);
    return with_bias(sum, layer.output_bias);
  }

  const LlamaSpec spec_;
  const std::string hf_class_;
  const at::Device device_;
  const std::shared_ptr<World> experts_, tensor_;
  const ModelSizes sizes_;
  WeightSet weights_;
  Tensor embedding_, output_norm_, output_;
  std::vector<LlamaLayer> layers_;
};

/// Puts the rows of heads that a GGUF file stores as neighbouring pairs back into two halves, as a folder has them.
void halve_pairs(const WeightSet& weights, const RopeSpec& rope, int head_dim) {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights.all()) {
    const std::string_view role = weight.parts.front().role;
    if (role != "attn_q" && role != "attn_k" && role != "attn_q_bias" && role != "attn_k_bias") continue;
    const Tensor heads = weight.values.detach().reshape({weight.values.size(0) / head_dim, head_dim, -1});
    Tensor rotated = heads.narrow(1, 0, rope.dim);
    rotated.copy_(at::cat({rotated.slice(1, 0, rope.dim, 2), rotated.slice(1, 1, rope.dim, 2)}, 1));
  }
}

}  // namespace

std::unique_ptr<Model> make_llama(const LlamaSpec& spec, std::string_view hf_class, const Checkpoint& checkpoint,
                                  const ModelOptions& options) {
  if (options.further_tokens)
    throw Error(ErrorKind::unsupported,
                "models of the architecture " + spec.architecture + " have no layers that predict further tokens");
  LlamaSpec trained = spec;
  trained.rope.interleaved = false;
  auto model = std::make_unique<LlamaModel>(trained, hf_class, options);
  if (checkpoint.files().empty()) return model;
  TensorFinder find(checkpoint, llama_tensors(spec, checkpoint.format()), llama_ignored(spec));
  load_weights(model->weights(), find);
  if (spec.rope.interleaved) halve_pairs(model->weights(), spec.rope, spec.head_dim);
  find.finish();
  return model;
}

}  // namespace moebox::train

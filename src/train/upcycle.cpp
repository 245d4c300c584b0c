#include "train/upcycle.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include <fmt/core.h>

#include "base/error.h"
#include "train/initial_weights.h"

namespace moebox::train {
namespace {

struct Kind {
  std::string_view dense, with_experts, model_type, n_experts_key;
  bool shared;  // it has a shared expert whose output a sigmoid scales
};
constexpr std::array kinds = {
    Kind{"LlamaForCausalLM", "MixtralForCausalLM", "mixtral", "num_local_experts", false},
    Kind{"Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "qwen2_moe", "num_experts", true},
    Kind{"Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "qwen3_moe", "num_experts", false},
};
constexpr const char* biases = "attention_bias";

const Kind& kind_of(const nlohmann::json& config) {
  const std::string architecture = config.at("architectures").at(0);
  const auto found = std::ranges::find(kinds, architecture, &Kind::dense);
  if (found == kinds.end())
    throw Error(ErrorKind::unsupported,
                "expected a dense model of the kind Llama, Mistral, Qwen2 or Qwen3, found " + architecture, "upcycle");
  if (found->model_type == "mixtral" && (config.value(biases, false) || config.value("mlp_bias", false)))
    throw Error(ErrorKind::unsupported, "the model has biases, and Mixtral has none", "upcycle");
  return *found;
}

nlohmann::json config_with_experts(nlohmann::json config, const Kind& kind, const UpcycleOptions& options) {
  const int width = config.at("intermediate_size");
  if (options.top_k > options.n_experts)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at most the {} experts, found {}", options.n_experts, options.top_k),
                "upcycle.experts_per_token");
  if (width % options.pieces != 0 || options.n_experts % options.pieces != 0)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a number that divides the layer's {} inner rows and the {} experts, found {}",
                            width, options.n_experts, options.pieces),
                "upcycle.pieces");
  config["architectures"] = {kind.with_experts};
  config["model_type"] = kind.model_type;
  config[kind.n_experts_key] = options.n_experts;
  config["num_experts_per_tok"] = options.top_k;
  config["norm_topk_prob"] = true;
  config["moe_intermediate_size"] = width / options.pieces;
  if (kind.model_type == "mixtral")
    config["intermediate_size"] = width / options.pieces;  // it has no other word for it
  if (kind.shared) config["shared_expert_intermediate_size"] = width;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = nlohmann::json::array();
  config["output_router_logits"] = false;
  for (const char* key : {"mlp_bias", "qkv_bias"}) config.erase(key);
  return config;
}

/// The dense model's tensor of each role and layer.
using Tensors = std::map<std::pair<std::string_view, int>, Tensor>;

Tensors tensors_of(const Model& dense) {
  Tensors tensors;
  for (const Weight& weight : dense.weights().all())
    for (const WeightPart& part : weight.parts)
      tensors[{part.role, part.layer}] = part_of(weight.values.detach(), part);
  return tensors;
}

/// What the feed-forward layer is called in the dense model; nothing: no part of it.
std::string_view dense_role(std::string_view role) {
  for (const auto& [expert, shared, dense] : {std::array<std::string_view, 3>{"expert_gate", "shared_gate", "ffn_gate"},
                                              {"expert_up", "shared_up", "ffn_up"},
                                              {"expert_down", "shared_down", "ffn_down"}})
    if (role == expert || role == shared) return dense;
  return {};
}

/// An expert's tensor: its piece of the layer, scaled where it goes out, with noise.
Tensor expert_of(const Tensor& whole, const WeightPart& part, const Kind& kind, const UpcycleOptions& options) {
  const bool goes_out = part.role == "expert_down";
  const std::int64_t inner = goes_out ? 1 : 0, n = whole.size(inner) / options.pieces;
  const std::int64_t piece = part.expert % options.pieces;
  Tensor values = whole.narrow(inner, piece * n, n).to(at::kFloat);
  if (goes_out) values = values * (kind.shared ? 0.5 : 1.0) * static_cast<double>(options.pieces);
  if (options.noise == 0) return values;
  const double deviation = options.noise * values.std().item<double>();
  return values + drawn_tensor(part.name, part.shape, options.seed, deviation);
}

Tensor value_of(const WeightPart& part, const Tensors& dense, const Kind& kind, const UpcycleOptions& options) {
  if (part.role == "router") return drawn_tensor(part.name, part.shape, options.seed, options.deviation);
  if (part.role == "shared_expert_gate") return at::zeros(part.shape, at::kFloat);  // its sigmoid is a half
  const std::string_view from = dense_role(part.role);
  const auto found = dense.find({from.empty() ? part.role : from, part.layer});
  if (found == dense.end()) throw Error(ErrorKind::internal, "the dense model has nothing for " + part.name, "upcycle");
  return part.expert >= 0 ? expert_of(found->second, part, kind, options) : found->second;
}

}  // namespace

std::unique_ptr<Model> upcycle(const Model& dense, const UpcycleOptions& options, const ModelOptions& model_options) {
  const at::NoGradGuard no_gradient;
  const nlohmann::json config = dense.config();
  const Kind& kind = kind_of(config);
  auto model = make_model(Checkpoint::describe(config_with_experts(config, kind, options), "upcycle"), model_options);
  const Tensors tensors = tensors_of(dense);
  for (const Weight& weight : model->weights().all())
    for (const WeightPart& part : weight.parts)
      part_of(weight.values.detach(), part).copy_(value_of(part, tensors, kind, options));
  return model;
}

}  // namespace moebox::train

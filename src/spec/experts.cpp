#include "spec/experts.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/config_reader.h"
#include "spec/gate_attention.h"
#include "spec/gguf_reader.h"
#include "spec/limits.h"

namespace moebox {
namespace {

/// This kind's gate is a softmax without groups and without a factor: a file that states another one is not of this
/// kind.
void refuse_other_gates(const GgufReader& read) {
  const auto refuse = [&read](const char* name) {
    throw Error(ErrorKind::unsupported, "another gate than a plain softmax is not implemented for this architecture",
                read.key(name));
  };
  constexpr int softmax = 1;
  if (read.integer("expert_gating_func", 0, 1 << 20, softmax) != softmax) refuse("expert_gating_func");
  if (read.integer("expert_group_count", 0, max_experts_of_a_layer, 1) > 1) refuse("expert_group_count");
  const float scale = read.number("expert_weights_scale", 1.0);
  if (scale != 1.0f && scale != 0.0f) refuse("expert_weights_scale");  // 0 is how some converters write "none"
}

}  // namespace

int ExpertsSpec::n_layers() const { return static_cast<int>(std::count(layers.begin(), layers.end(), true)); }

ExpertsSpec read_gguf_experts(const Checkpoint& checkpoint, const std::string& architecture, int n_layers,
                              int intermediate_size, bool normalize) {
  const GgufReader read(checkpoint, architecture);
  ExpertsSpec spec;
  spec.gate.n_experts = read.integer("expert_count", 0, max_experts_of_a_layer, 0);
  if (spec.gate.n_experts == 0) return spec;
  spec.gate.top_k = read.integer("expert_used_count", 1, max_experts_of_a_layer);
  spec.gate.normalize = read.boolean("expert_weights_norm", normalize);
  spec.gate.attention = read_gguf_gate_attention(read);
  refuse_other_gates(read);
  spec.intermediate_size = read.integer("expert_feed_forward_length", 1, max_dimension, intermediate_size);
  spec.shared_intermediate_size = read.integer("expert_shared_feed_forward_length", 0, max_dimension, 0);
  spec.shared_gate = spec.shared_intermediate_size > 0;  // Qwen2's: the only kind here with a shared expert
  for (int i = 0; i < n_layers; ++i)
    spec.layers.push_back(checkpoint.find_tensor("blk." + std::to_string(i) + ".ffn_gate_inp.weight") != nullptr);
  validate(spec.gate, read.key("*"), gguf_gate_names);
  return spec;
}

ExpertsSpec read_hf_experts(const Checkpoint& checkpoint, int n_layers, int intermediate_size, bool normalize) {
  const ConfigReader config(checkpoint.config(), "config.json");
  ExpertsSpec spec;
  GateFieldNames names;
  names.n_experts = config.has("num_experts") ? "num_experts" : "num_local_experts";
  spec.gate.n_experts = config.integer(names.n_experts, 1, max_experts_of_a_layer);
  spec.gate.top_k = config.integer("num_experts_per_tok", 1, max_experts_of_a_layer);
  spec.gate.normalize = config.boolean("norm_topk_prob", normalize);
  spec.gate.attention = read_hf_gate_attention(config);
  spec.intermediate_size = intermediate_size;
  const int step = config.integer("decoder_sparse_step", 1, max_layers, 1);
  for (int i = 0; i < n_layers; ++i) spec.layers.push_back((i + 1) % step == 0);
  if (config.has("mlp_only_layers")) {
    const auto& dense = checkpoint.config().at("mlp_only_layers");
    const bool numbers = dense.is_array() && std::all_of(dense.begin(), dense.end(), [&](const auto& layer) {
                           return layer.is_number_unsigned() &&
                                  layer.template get<std::uint64_t>() < static_cast<std::uint64_t>(n_layers);
                         });
    if (!numbers)
      throw Error(ErrorKind::invalid_file, "expected a list of layers, found " + dense.dump().substr(0, 60),
                  "config.json: mlp_only_layers");
    for (const auto& layer : dense) spec.layers[layer.get<std::size_t>()] = false;
  }
  validate(spec.gate, "config.json", names);
  return spec;
}

std::vector<TensorRule> expert_tensors(const ExpertsSpec& spec, int hidden_size, Checkpoint::Format format) {
  if (spec.gate.n_experts == 0) return {};
  const std::int64_t hidden = hidden_size, inner = spec.intermediate_size, shared = spec.shared_intermediate_size;
  const ExpertNames& names = spec.names;
  TensorRule shared_gate{"shared_expert_gate",
                         "blk.{}.ffn_gate_inp_shexp.weight",
                         "model.layers.{}.mlp.shared_expert_gate.weight",
                         {hidden},
                         spec.shared_gate};
  if (format == Checkpoint::Format::hugging_face) shared_gate.shape = {1, hidden};
  std::vector<TensorRule> rules = {
      {"router",
       "blk.{}.ffn_gate_inp.weight",
       names.router,
       {spec.gate.n_experts, router_columns(spec.gate, hidden_size)}},
      {"router_bias", "", "", {spec.gate.n_experts}, false},
      {"expert_gate", "blk.{}.ffn_gate_exps.weight", names.gate, {inner, hidden}},
      {"expert_up", "blk.{}.ffn_up_exps.weight", names.up, {inner, hidden}},
      {"expert_down", "blk.{}.ffn_down_exps.weight", names.down, {hidden, inner}},
      shared_gate,
      {"shared_gate",
       "blk.{}.ffn_gate_shexp.weight",
       "model.layers.{}.mlp.shared_expert.gate_proj.weight",
       {shared, hidden}},
      {"shared_up", "blk.{}.ffn_up_shexp.weight", "model.layers.{}.mlp.shared_expert.up_proj.weight", {shared, hidden}},
      {"shared_down",
       "blk.{}.ffn_down_shexp.weight",
       "model.layers.{}.mlp.shared_expert.down_proj.weight",
       {hidden, shared}},
  };
  for (TensorRule& rule : gate_attention_tensors(spec.gate, hidden_size)) rules.push_back(std::move(rule));
  return rules;
}

}  // namespace moebox

#include "train/spec_config.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "base/error.h"

namespace moebox::train {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::unsupported, "config.json has no way to say " + what, "export", "export GGUF only");
}

nlohmann::json rope_config(const RopeSpec& rope, int head_dim) {
  if (!rope.frequency_divisors.empty()) refuse("RoPE frequencies of a file's own (rope_freqs.weight)");
  nlohmann::json json = {{"rope_theta", rope.theta}};
  if (rope.dim != head_dim)
    json["partial_rotary_factor"] = static_cast<double>(rope.dim) / static_cast<double>(head_dim);
  constexpr const char* names[] = {"default", "linear", "ntk", "dynamic", "yarn", "llama3"};
  json["rope_type"] = names[static_cast<std::size_t>(rope.scaling)];
  if (rope.scaling == RopeScaling::none) return json;
  json["factor"] = rope.factor;
  json["original_max_position_embeddings"] = rope.original_context;
  if (rope.scaling == RopeScaling::yarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncate"] = rope.truncate;
    if (rope.attention_factor > 0.0f) json["attention_factor"] = rope.attention_factor;
    if (rope.mscale > 0.0f) json["mscale"] = rope.mscale;
    if (rope.mscale_all_dim > 0.0f) json["mscale_all_dim"] = rope.mscale_all_dim;
  } else if (rope.scaling == RopeScaling::llama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  }
  return json;
}

void set_gate_attention(nlohmann::json& json, const GateAttentionSpec& attention) {
  if (attention.n_heads > 0)
    json["gate_attention"] = {{"num_heads", attention.n_heads}, {"head_dim", attention.head_dim}};
}

/// How a class of the Llama kind calls itself and its number of experts.
struct ClassNames {
  std::string_view hf_class, model_type, n_experts;
  bool one_bias = false;  // attention_bias says of q, k, v and the output projection together
};
constexpr ClassNames llama_classes[] = {
    {"LlamaForCausalLM", "llama", "", true},
    {"MixtralForCausalLM", "mixtral", "num_local_experts"},
    {"Qwen2ForCausalLM", "qwen2", ""},
    {"Qwen3ForCausalLM", "qwen3", "", true},
    {"Qwen2MoeForCausalLM", "qwen2_moe", "num_experts"},
    {"Qwen3MoeForCausalLM", "qwen3_moe", "num_experts", true},
    {"OlmoeForCausalLM", "olmoe", "num_experts"},
};

void set_experts(nlohmann::json& json, const LlamaSpec& spec, const ClassNames& names) {
  const ExpertsSpec& experts = spec.experts;
  if (names.n_experts.empty()) refuse("experts of the class " + std::string(names.hf_class));
  json[names.n_experts] = experts.gate.n_experts;
  json["num_experts_per_tok"] = experts.gate.top_k;
  json["norm_topk_prob"] = experts.gate.normalize;
  json["moe_intermediate_size"] = experts.intermediate_size;
  json["output_router_logits"] = false;
  if (experts.shared_intermediate_size > 0) json["shared_expert_intermediate_size"] = experts.shared_intermediate_size;
  json["decoder_sparse_step"] = 1;
  json["mlp_only_layers"] = nlohmann::json::array();
  for (int i = 0; i < spec.n_layers; ++i)
    if (!experts.in_layer(i)) json["mlp_only_layers"].push_back(i);
  set_gate_attention(json, experts.gate.attention);
}

}  // namespace

nlohmann::json deepseek_config(const DeepseekSpec& spec, int n_further_layers) {
  const bool v3 = spec.gate_bias;
  const GateSpec& gate = spec.gate;
  if (v3 != (gate.score == GateScore::sigmoid))
    refuse(v3 ? "a softmax gate with a correction bias" : "a sigmoid gate without a correction bias");
  if (!v3 && gate.normalize) refuse("normalised weights of a softmax gate");
  const MlaSpec& mla = spec.mla;
  nlohmann::json json = {
      {"architectures", {v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"}},
      {"model_type", v3 ? "deepseek_v3" : "deepseek_v2"},
      {"dtype", "float32"},
      {"vocab_size", spec.vocab_size},
      {"hidden_size", spec.hidden_size},
      {"num_hidden_layers", spec.n_layers},
      {"first_k_dense_replace", spec.n_dense_layers},
      {"num_nextn_predict_layers", n_further_layers},
      {"intermediate_size", spec.intermediate_size},
      {"moe_intermediate_size", spec.moe_intermediate_size},
      {"n_shared_experts",
       spec.shared_intermediate_size == 0 ? 0 : spec.shared_intermediate_size / spec.moe_intermediate_size},
      {"max_position_embeddings", spec.max_context},
      {"rms_norm_eps", spec.rms_epsilon},
      {"tie_word_embeddings", spec.tied_embeddings},
      {"hidden_act", "silu"},
      {"attention_bias", mla.bias},
      {"attention_dropout", 0.0},
      {"num_attention_heads", mla.n_heads},
      {"num_key_value_heads", mla.n_heads},
      {"q_lora_rank", mla.q_lora_rank > 0 ? nlohmann::json(mla.q_lora_rank) : nlohmann::json()},
      {"kv_lora_rank", mla.kv_lora_rank},
      {"qk_nope_head_dim", mla.qk_nope_head_dim},
      {"qk_rope_head_dim", mla.qk_rope_head_dim},
      {"v_head_dim", mla.v_head_dim},
      {"rope_parameters", rope_config(mla.rope, mla.qk_rope_head_dim)},
      {"n_routed_experts", gate.n_experts},
      {"num_experts_per_tok", gate.top_k},
      {"n_group", gate.n_groups},
      {"topk_group", gate.top_groups},
      {"norm_topk_prob", gate.normalize},
      {"routed_scaling_factor", gate.scale},
      {"scoring_func", v3 ? "sigmoid" : "softmax"},
      {"topk_method", v3                  ? "noaux_tc"
                      : gate.n_groups > 1 ? "group_limited_greedy"
                                          : "greedy"},
  };
  if (v3) json["rope_interleave"] = mla.rope.interleaved;
  set_gate_attention(json, gate.attention);
  return json;
}

nlohmann::json llama_config(const LlamaSpec& spec, std::string_view hf_class) {
  const auto found = std::find_if(std::begin(llama_classes), std::end(llama_classes),
                                  [&](const ClassNames& names) { return names.hf_class == hf_class; });
  if (found == std::end(llama_classes)) refuse("the class " + std::string(hf_class));
  if (found->one_bias && spec.qkv_bias != spec.output_bias)
    refuse("biases of q, k and v without one of the output projection, for the class " + std::string(hf_class));
  nlohmann::json json = {
      {"architectures", {hf_class}},
      {"model_type", found->model_type},
      {"dtype", "float32"},
      {"vocab_size", spec.vocab_size},
      {"hidden_size", spec.hidden_size},
      {"intermediate_size", spec.intermediate_size},
      {"num_hidden_layers", spec.n_layers},
      {"num_attention_heads", spec.n_heads},
      {"num_key_value_heads", spec.n_kv_heads},
      {"head_dim", spec.head_dim},
      {"max_position_embeddings", spec.max_context},
      {"rms_norm_eps", spec.rms_epsilon},
      {"tie_word_embeddings", spec.tied_embeddings},
      {"hidden_act", "silu"},
      {"attention_dropout", 0.0},
      {"attention_bias", spec.output_bias},
      {"qkv_bias", spec.qkv_bias},
      {"mlp_bias", spec.mlp_bias},
      {"rope_parameters", rope_config(spec.rope, spec.head_dim)},
  };
  if (spec.experts.gate.n_experts > 0) set_experts(json, spec, *found);
  return json;
}

}  // namespace moebox::train

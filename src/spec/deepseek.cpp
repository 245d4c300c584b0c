#include "spec/deepseek.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/config_reader.h"
#include "spec/gate_attention.h"
#include "spec/gguf_reader.h"
#include "spec/limits.h"

namespace moebox {
namespace {

constexpr int max_heads = 1 << 14;
constexpr int max_head_dim = 1024;
constexpr int max_rank = 1 << 14;

/// YaRN stretches the logits by mscale(mscale_all_dim) squared, here; cos and sin by a ratio, in RopeSpec.
float mla_softmax_scale(const MlaSpec& mla) {
  float scale = 1.0f / std::sqrt(static_cast<float>(mla.qk_head_dim()));
  if (mla.rope.scaling == RopeScaling::yarn && mla.rope.mscale_all_dim != 0.0f) {
    const float mscale = yarn_mscale(mla.rope.factor, mla.rope.mscale_all_dim);
    scale *= mscale * mscale;
  }
  return scale;
}

[[noreturn]] void refuse_number(const std::string& expected, int found, const std::string& where) {
  throw Error(ErrorKind::invalid_file, "expected " + expected + ", found " + std::to_string(found), where);
}

// ---- Hugging Face ----

void read_hf_gate(const ConfigReader& config, bool v3, GateSpec& gate, bool& bias) {
  gate.n_experts = config.integer("n_routed_experts", 1, max_experts_of_a_layer);
  gate.top_k = config.integer("num_experts_per_tok", 1, max_experts_of_a_layer);
  gate.scale = config.number("routed_scaling_factor", v3 ? 2.5f : 1.0f);
  const bool normalize = config.boolean("norm_topk_prob", v3);
  gate.normalize = v3 && normalize;  // transformers' V2 has the field and does nothing with it
  const std::string method = config.string("topk_method", v3 ? "noaux_tc" : "greedy");
  const std::string score = config.string("scoring_func", v3 ? "sigmoid" : "softmax");
  const auto unsupported = [](const std::string& what, const char* field) {
    throw Error(ErrorKind::unsupported, what, std::string("config.json: ") + field);
  };
  const bool known = v3 ? method == "noaux_tc" : method == "greedy" || method == "group_limited_greedy";
  if (!known)
    unsupported("the choice of experts \"" + method + "\" is not implemented for this architecture", "topk_method");
  if (score != (v3 ? "sigmoid" : "softmax"))
    unsupported("the scoring \"" + score + "\" is not implemented for this architecture", "scoring_func");
  if (!v3 && normalize && config.has("auto_map"))
    unsupported(
        "the model brings code of its own (auto_map), which normalises in place of the factor; transformers' "
        "code does not",
        "norm_topk_prob");
  gate.score = v3 ? GateScore::sigmoid : GateScore::softmax;
  gate.group_score = v3 ? GroupScore::sum_of_best2 : GroupScore::best;
  bias = v3;
  gate.attention = read_hf_gate_attention(config);
  if (method == "greedy") return;
  gate.n_groups = config.integer("n_group", 1, max_experts_of_a_layer, v3 ? 8 : 1);
  gate.top_groups = config.integer("topk_group", 1, max_experts_of_a_layer, v3 ? 4 : 1);
}

/// A quantised checkpoint must be DeepSeek's FP8: what its tensors say of themselves is all that is needed then.
void check_hf_quantization(const nlohmann::json& json) {
  if (!ConfigReader(json, "config.json").has("quantization_config")) return;
  const auto& field = json.at("quantization_config");
  const ConfigReader quantization(field, "config.json: quantization_config");
  const std::string method = quantization.string("quant_method", "");
  const bool blocks =
      field.contains("weight_block_size") && field.at("weight_block_size") == nlohmann::json({128, 128});
  if (method != "fp8" || quantization.string("fmt", "e4m3") != "e4m3" || !blocks)
    throw Error(ErrorKind::unsupported,
                "only FP8 (e4m3) with blocks of 128 x 128 is implemented, found " + field.dump().substr(0, 120),
                "config.json: quantization_config", "use the BF16 checkpoint or a GGUF file");
}

DeepseekSpec read_hf_deepseek(const Checkpoint& checkpoint) {
  const nlohmann::json& json = checkpoint.config();
  const ConfigReader config(json, "config.json");
  const bool v3 = json.at("architectures").front() == "DeepseekV3ForCausalLM";
  DeepseekSpec spec;
  spec.architecture = v3 ? "deepseek_v3" : "deepseek_v2";
  spec.n_layers = config.integer("num_hidden_layers", 1, max_layers);
  spec.hidden_size = config.integer("hidden_size", 1, max_dimension);
  spec.vocab_size = config.integer("vocab_size", 1, max_vocabulary);
  spec.max_context = config.integer("max_position_embeddings", 1, max_context_tokens, v3 ? 4096 : 2048);
  spec.rms_epsilon = config.number("rms_norm_eps", 1e-6f);
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.n_dense_layers = config.integer("first_k_dense_replace", 0, spec.n_layers, v3 ? 3 : 0);
  spec.n_mtp_layers = config.integer("num_nextn_predict_layers", 0, max_layers, 0);
  spec.intermediate_size = config.integer("intermediate_size", 1, max_dimension);
  spec.moe_intermediate_size = config.integer("moe_intermediate_size", 1, max_dimension);
  spec.shared_intermediate_size = spec.moe_intermediate_size * config.integer("n_shared_experts", 0, 256, 0);
  if (const int every = config.integer("moe_layer_freq", 1, max_layers, 1); every != 1)
    throw Error(ErrorKind::unsupported,
                "experts in every " + std::to_string(every) + "th layer only are not implemented",
                "config.json: moe_layer_freq");
  if (config.string("hidden_act", "silu") != "silu")
    throw Error(ErrorKind::unsupported, "the activation \"" + config.string("hidden_act") + "\" is not implemented",
                "config.json: hidden_act");
  if (config.boolean("mlp_bias", false))
    throw Error(ErrorKind::unsupported, "biases of the feed-forward are not implemented for this architecture",
                "config.json: mlp_bias");
  read_hf_gate(config, v3, spec.gate, spec.gate_bias);
  check_hf_quantization(json);

  MlaSpec& mla = spec.mla;
  mla.n_heads = config.integer("num_attention_heads", 1, max_heads);
  if (const int heads = config.integer("num_key_value_heads", 1, max_heads, mla.n_heads); heads != mla.n_heads)
    throw Error(ErrorKind::invalid_file,
                "latent attention has as many key heads as heads, expected " + std::to_string(mla.n_heads) +
                    ", found " + std::to_string(heads),
                "config.json: num_key_value_heads");
  mla.q_lora_rank = config.integer("q_lora_rank", 1, max_rank, 0);
  mla.kv_lora_rank = config.integer("kv_lora_rank", 1, max_rank);
  mla.qk_nope_head_dim = config.integer("qk_nope_head_dim", 1, max_head_dim);
  mla.qk_rope_head_dim = config.integer("qk_rope_head_dim", 2, max_head_dim);
  mla.v_head_dim = config.integer("v_head_dim", 1, max_head_dim);
  mla.bias = config.boolean("attention_bias", false);
  mla.rope = read_hf_rope(json, mla.qk_rope_head_dim, spec.max_context);
  mla.rope.interleaved = v3 ? config.boolean("rope_interleave", true) : true;
  return spec;
}

// ---- GGUF ----

void read_gguf_gate(const GgufReader& read, bool bias, GateSpec& gate) {
  gate.n_experts = read.integer("expert_count", 1, max_experts_of_a_layer);
  gate.top_k = read.integer("expert_used_count", 1, max_experts_of_a_layer);
  gate.scale = read.number("expert_weights_scale", 1.0);
  if (gate.scale == 0.0f) gate.scale = 1.0f;  // how some converters write "none"
  gate.normalize = read.boolean("expert_weights_norm", false);
  constexpr int softmax = 1, sigmoid = 2;  // files of V2 from before the key existed have a softmax
  gate.score = read.integer("expert_gating_func", softmax, sigmoid, softmax) == sigmoid ? GateScore::sigmoid
                                                                                        : GateScore::softmax;
  // A bias is noaux_tc's, which judges groups by their two best whatever the score.
  gate.group_score = bias || gate.score == GateScore::sigmoid ? GroupScore::sum_of_best2 : GroupScore::best;
  gate.n_groups = std::max(1, read.integer("expert_group_count", 0, max_experts_of_a_layer, 1));
  gate.top_groups = std::max(1, read.integer("expert_group_used_count", 0, max_experts_of_a_layer, 1));
  gate.attention = read_gguf_gate_attention(read);
}

DeepseekSpec read_gguf_deepseek(const Checkpoint& checkpoint) {
  DeepseekSpec spec;
  spec.architecture = "deepseek2";
  const GgufReader read(checkpoint, spec.architecture);
  const int n_blocks = read.integer("block_count", 1, max_layers);
  spec.n_mtp_layers = read.integer("nextn_predict_layers", 0, n_blocks - 1, 0);
  spec.n_layers = n_blocks - spec.n_mtp_layers;
  spec.hidden_size = read.integer("embedding_length", 1, max_dimension);
  spec.max_context = read.integer("context_length", 1, max_context_tokens);
  spec.rms_epsilon = read.number("attention.layer_norm_rms_epsilon");
  spec.n_dense_layers = read.integer("leading_dense_block_count", 0, spec.n_layers, 0);
  spec.intermediate_size = read.integer("feed_forward_length", 1, max_dimension);
  spec.moe_intermediate_size = read.integer("expert_feed_forward_length", 1, max_dimension);
  spec.shared_intermediate_size = spec.moe_intermediate_size * read.integer("expert_shared_count", 0, 256, 0);
  spec.tied_embeddings = checkpoint.find_tensor("output.weight") == nullptr;
  spec.vocab_size = read.vocab_size();
  const std::string layer = "blk." + std::to_string(spec.n_dense_layers) + ".";
  spec.gate_bias = checkpoint.find_tensor(layer + "exp_probs_b.bias") != nullptr;
  read_gguf_gate(read, spec.gate_bias, spec.gate);

  MlaSpec& mla = spec.mla;
  mla.n_heads = read.integer("attention.head_count", 1, max_heads);
  mla.q_lora_rank = read.integer("attention.q_lora_rank", 0, max_rank, 0);
  mla.kv_lora_rank = read.integer("attention.kv_lora_rank", 1, max_rank);
  mla.qk_rope_head_dim = read.integer("rope.dimension_count", 2, max_head_dim);
  mla.split_kv_b = checkpoint.find_tensor("blk.0.attn_k_b.weight") != nullptr;
  // Files with k_b and v_b apart give the sizes of the absorbed heads as key_length, and the real ones as *_mla.
  const bool absorbed = read.has("attention.key_length_mla");
  const int key_length =
      read.integer(absorbed ? "attention.key_length_mla" : "attention.key_length", 1, 2 * max_head_dim);
  mla.v_head_dim = read.integer(absorbed ? "attention.value_length_mla" : "attention.value_length", 1, max_head_dim);
  mla.qk_nope_head_dim = key_length - mla.qk_rope_head_dim;
  if (mla.qk_nope_head_dim < 1)
    refuse_number("more than the " + std::to_string(mla.qk_rope_head_dim) + " rotated values", key_length,
                  read.key(absorbed ? "attention.key_length_mla" : "attention.key_length"));
  mla.rope = read_gguf_rope(checkpoint, "deepseek2", mla.qk_rope_head_dim, spec.max_context);
  mla.rope.interleaved = true;
  if (mla.rope.scaling == RopeScaling::yarn) {
    // The file holds 0.1 x mscale_all_dim, and cos and sin are not scaled: mscale equals mscale_all_dim.
    mla.rope.mscale = mla.rope.mscale_all_dim =
        10.0f * read.number("rope.scaling.yarn_log_multiplier", 0.0f, 10.0f, 0.0f);
    mla.rope.attention_factor = 1.0f;
  }
  return spec;
}

void check_deepseek(const DeepseekSpec& spec, bool gguf) {
  const auto field = [gguf](const char* in_config, const char* in_gguf) {
    return gguf ? std::string("deepseek2.") + in_gguf : std::string("config.json: ") + in_config;
  };
  validate(spec.gate, gguf ? "deepseek2.*" : "config.json", gguf ? gguf_gate_names : GateFieldNames());
  if (!(spec.rms_epsilon > 0.0f && spec.rms_epsilon < 1.0f))
    throw Error(ErrorKind::invalid_file, "expected an RMS epsilon in (0, 1)",
                field("rms_norm_eps", "attention.layer_norm_rms_epsilon"));
  if (spec.mla.qk_rope_head_dim % 2 != 0)
    refuse_number("an even number", spec.mla.qk_rope_head_dim, field("qk_rope_head_dim", "rope.dimension_count"));
  if (spec.mla.rope.dim != spec.mla.qk_rope_head_dim)
    refuse_number(std::to_string(spec.mla.qk_rope_head_dim) + " rotated values", spec.mla.rope.dim,
                  field("partial_rotary_factor", "rope.dimension_count"));
  if (spec.mla.rope.scaling != RopeScaling::none && spec.mla.rope.scaling != RopeScaling::yarn)
    throw Error(ErrorKind::unsupported, "of the RoPE scalings only YaRN is implemented for this architecture",
                field("rope_scaling", "rope.scaling.type"));
  if (!std::isfinite(spec.mla.softmax_scale) || !(spec.mla.softmax_scale > 0))
    throw Error(ErrorKind::invalid_file, "the attention's scale is no positive number",
                field("mscale_all_dim", "rope.scaling.yarn_log_multiplier"));
  if (static_cast<std::int64_t>(spec.mla.n_heads) * (spec.mla.qk_head_dim() + spec.mla.v_head_dim) > (1 << 24))
    refuse_number("narrower heads", spec.mla.n_heads, field("num_attention_heads", "attention.head_count"));
  if (spec.shared_intermediate_size > max_dimension)
    refuse_number("a narrower shared expert", spec.shared_intermediate_size,
                  field("n_shared_experts", "expert_shared_count"));
}

std::string layer_prefix(bool gguf, int layer) {
  return (gguf ? "blk." : "model.layers.") + std::to_string(layer) + ".";
}

/// A layer is left out only if it is one that predicts further tokens: a configuration with a layer too few would hide
/// one of the model's own.
void check_left_out_layers(const Checkpoint& checkpoint, const DeepseekSpec& spec, bool gguf) {
  for (int i = spec.n_layers; i < spec.n_layers + spec.n_mtp_layers; ++i) {
    const std::string layer = layer_prefix(gguf, i);
    bool is_there = false, predicts = false;
    for (const TensorView& tensor : checkpoint.tensors()) {
      if (!tensor.name.starts_with(layer)) continue;
      is_there = true;
      predicts = predicts || tensor.name.find("eh_proj") != std::string::npos;
    }
    if (is_there && !predicts)
      throw Error(ErrorKind::invalid_file,
                  "expected layer " + std::to_string(i) + " to predict further tokens, found it without an eh_proj",
                  gguf ? "deepseek2.block_count" : "config.json: num_hidden_layers");
  }
}

}  // namespace

DeepseekSpec read_deepseek(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format() == Checkpoint::Format::gguf;
  DeepseekSpec spec = gguf ? read_gguf_deepseek(checkpoint) : read_hf_deepseek(checkpoint);
  spec.mla.softmax_scale = mla_softmax_scale(spec.mla);
  check_deepseek(spec, gguf);
  check_left_out_layers(checkpoint, spec, gguf);
  const std::string mtp = layer_prefix(gguf, spec.n_layers) + (gguf ? "nextn." : "");
  spec.mtp_embedding = checkpoint.find_tensor(mtp + "embed_tokens.weight") != nullptr;
  spec.mtp_output =
      checkpoint.find_tensor(mtp + (gguf ? "shared_head_head.weight" : "shared_head.head.weight")) != nullptr;
  return spec;
}

bool has_mtp(const DeepseekSpec& spec, const Checkpoint& checkpoint) {
  const std::string layer = layer_prefix(checkpoint.format() == Checkpoint::Format::gguf, spec.n_layers);
  const auto tensors = checkpoint.tensors();
  return spec.n_mtp_layers > 0 && std::any_of(tensors.begin(), tensors.end(),
                                              [&](const TensorView& tensor) { return tensor.name.starts_with(layer); });
}

void check_mtp(const DeepseekSpec& spec, const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format() == Checkpoint::Format::gguf;
  const std::string layer = layer_prefix(gguf, spec.n_layers);
  const std::string count = gguf ? "deepseek2.nextn_predict_layers" : "config.json: num_nextn_predict_layers";
  const char* without = "start it without: --speculation ngram, or off";
  if (spec.n_mtp_layers == 0)
    throw Error(ErrorKind::unsupported, "the model has no layer that predicts further tokens: expected at least 1",
                count, without);
  if (!has_mtp(spec, checkpoint))
    throw Error(ErrorKind::unsupported,
                "the layer that predicts further tokens was left out of these files: there are no tensors " + layer +
                    "*, though " + count + " is " + std::to_string(spec.n_mtp_layers),
                checkpoint.path().string(), without);
  if (spec.gate.attention.n_heads > 0)
    throw Error(ErrorKind::unsupported,
                "a layer that predicts further tokens is not implemented for gates with an attention of their own",
                count, without);
}

std::vector<TensorRule> deepseek_tensors(const DeepseekSpec& spec) {
  const MlaSpec& mla = spec.mla;
  const std::int64_t hidden = spec.hidden_size, vocab = spec.vocab_size, heads = mla.n_heads;
  const std::int64_t q = heads * mla.qk_head_dim(), v = heads * mla.v_head_dim, q_rank = mla.q_lora_rank;
  const std::int64_t rank = mla.kv_lora_rank, nope = mla.qk_nope_head_dim, latent = mla.latent_dim();
  const std::int64_t inner = spec.intermediate_size, expert = spec.moe_intermediate_size,
                     shared = spec.shared_intermediate_size;
  const std::int64_t n_experts = spec.gate.n_experts, router = router_columns(spec.gate, spec.hidden_size);
  std::vector<TensorRule> rules = {
      {"embedding", "token_embd.weight", "model.embed_tokens.weight", {vocab, hidden}},
      {"output", "output.weight", "lm_head.weight", {vocab, hidden}, !spec.tied_embeddings},
      {"output_norm", "output_norm.weight", "model.norm.weight", {hidden}},
      {"attn_norm", "blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight", {hidden}},
      // Queries: at once, or by a latent.
      {"attn_q", "blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight", {q, hidden}},
      {"attn_q_a", "blk.{}.attn_q_a.weight", "model.layers.{}.self_attn.q_a_proj.weight", {q_rank, hidden}},
      {"attn_q_a_bias", "blk.{}.attn_q_a.bias", "model.layers.{}.self_attn.q_a_proj.bias", {q_rank}, mla.bias},
      {"attn_q_a_norm", "blk.{}.attn_q_a_norm.weight", "model.layers.{}.self_attn.q_a_layernorm.weight", {q_rank}},
      {"attn_q_b", "blk.{}.attn_q_b.weight", "model.layers.{}.self_attn.q_b_proj.weight", {q, q_rank}},
      // Keys and values: the latent and the shared rotated key, then what expands them.
      {"attn_kv_a",
       "blk.{}.attn_kv_a_mqa.weight",
       "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight",
       {latent, hidden}},
      {"attn_kv_a_bias",
       "blk.{}.attn_kv_a_mqa.bias",
       "model.layers.{}.self_attn.kv_a_proj_with_mqa.bias",
       {latent},
       mla.bias},
      {"attn_kv_a_norm", "blk.{}.attn_kv_a_norm.weight", "model.layers.{}.self_attn.kv_a_layernorm.weight", {rank}},
      {"attn_kv_b", "blk.{}.attn_kv_b.weight", "model.layers.{}.self_attn.kv_b_proj.weight", {heads * nope + v, rank}},
      {"attn_k_b", "blk.{}.attn_k_b.weight", "", {heads, rank, nope}, mla.split_kv_b},
      {"attn_v_b", "blk.{}.attn_v_b.weight", "", {heads, mla.v_head_dim, rank}, mla.split_kv_b},
      {"attn_output", "blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight", {hidden, v}},
      {"attn_output_bias", "blk.{}.attn_output.bias", "model.layers.{}.self_attn.o_proj.bias", {hidden}, mla.bias},
      {"ffn_norm", "blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight", {hidden}},
      // A dense layer's feed-forward.
      {"ffn_gate", "blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight", {inner, hidden}},
      {"ffn_up", "blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight", {inner, hidden}},
      {"ffn_down", "blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight", {hidden, inner}},
      // A layer with experts.
      {"router", "blk.{}.ffn_gate_inp.weight", "model.layers.{}.mlp.gate.weight", {n_experts, router}},
      {"router_bias",
       "blk.{}.exp_probs_b.bias",
       "model.layers.{}.mlp.gate.e_score_correction_bias",
       {n_experts},
       spec.gate_bias},
      {"expert_gate",
       "blk.{}.ffn_gate_exps.weight",
       "model.layers.{}.mlp.experts.{expert}.gate_proj.weight",
       {expert, hidden}},
      {"expert_up",
       "blk.{}.ffn_up_exps.weight",
       "model.layers.{}.mlp.experts.{expert}.up_proj.weight",
       {expert, hidden}},
      {"expert_down",
       "blk.{}.ffn_down_exps.weight",
       "model.layers.{}.mlp.experts.{expert}.down_proj.weight",
       {hidden, expert}},
      {"shared_gate",
       "blk.{}.ffn_gate_shexp.weight",
       "model.layers.{}.mlp.shared_experts.gate_proj.weight",
       {shared, hidden}},
      {"shared_up",
       "blk.{}.ffn_up_shexp.weight",
       "model.layers.{}.mlp.shared_experts.up_proj.weight",
       {shared, hidden}},
      {"shared_down",
       "blk.{}.ffn_down_shexp.weight",
       "model.layers.{}.mlp.shared_experts.down_proj.weight",
       {hidden, shared}},
      // What the layer that predicts a further token has beside an ordinary one.
      {"mtp_embedding",
       "blk.{}.nextn.embed_tokens.weight",
       "model.layers.{}.embed_tokens.weight",
       {vocab, hidden},
       spec.mtp_embedding},
      {"mtp_token_norm", "blk.{}.nextn.enorm.weight", "model.layers.{}.enorm.weight", {hidden}},
      {"mtp_hidden_norm", "blk.{}.nextn.hnorm.weight", "model.layers.{}.hnorm.weight", {hidden}},
      {"mtp_projection", "blk.{}.nextn.eh_proj.weight", "model.layers.{}.eh_proj.weight", {hidden, 2 * hidden}},
      {"mtp_output_norm", "blk.{}.nextn.shared_head_norm.weight", "model.layers.{}.shared_head.norm.weight", {hidden}},
      {"mtp_output",
       "blk.{}.nextn.shared_head_head.weight",
       "model.layers.{}.shared_head.head.weight",
       {vocab, hidden},
       spec.mtp_output},
  };
  for (TensorRule& rule : gate_attention_tensors(spec.gate, spec.hidden_size)) rules.push_back(std::move(rule));
  return rules;
}

std::vector<std::string> deepseek_ignored(const DeepseekSpec& spec, Checkpoint::Format format, int n_mtp_used) {
  std::vector<std::string> ignored = {"rotary_emb.inv_freq"};
  if (spec.tied_embeddings) ignored.push_back("lm_head.weight");
  for (int i = n_mtp_used; i < spec.n_mtp_layers; ++i)
    ignored.push_back(layer_prefix(format == Checkpoint::Format::gguf, spec.n_layers + i));
  return ignored;
}

}  // namespace moebox

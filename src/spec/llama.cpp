#include "spec/llama.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/config_reader.h"
#include "spec/gguf_reader.h"
#include "spec/limits.h"

namespace moebox {
namespace {

LlamaSpec read_gguf(const Checkpoint& checkpoint, const std::string& architecture) {
  const GgufReader read(checkpoint, architecture);
  LlamaSpec spec;
  spec.n_layers = read.integer("block_count", 1, max_layers);
  spec.hidden_size = read.integer("embedding_length", 1, max_dimension);
  spec.intermediate_size = read.integer("feed_forward_length", 1, max_dimension);
  spec.n_heads = read.integer("attention.head_count", 1, max_dimension);
  spec.n_kv_heads = read.integer("attention.head_count_kv", 1, max_dimension, spec.n_heads);
  spec.head_dim = read.integer("attention.key_length", 1, max_dimension, spec.hidden_size / spec.n_heads);
  if (read.integer("attention.value_length", 1, max_dimension, spec.head_dim) != spec.head_dim)
    throw Error(ErrorKind::unsupported,
                "keys and values of different lengths are not implemented for this architecture",
                read.key("attention.value_length"));
  if (read.integer("attention.sliding_window", 0, max_context_tokens, 0) != 0)
    throw Error(ErrorKind::unsupported, "sliding-window attention is not implemented",
                read.key("attention.sliding_window"));
  spec.max_context = read.integer("context_length", 1, max_context_tokens);
  spec.rms_epsilon = read.number("attention.layer_norm_rms_epsilon");
  spec.vocab_size = read.vocab_size();
  spec.tied_embeddings = checkpoint.find_tensor("output.weight") == nullptr;
  spec.rope = read_gguf_rope(checkpoint, architecture, spec.head_dim, spec.max_context);
  return spec;
}

LlamaSpec read_hf(const Checkpoint& checkpoint) {
  const ConfigReader config(checkpoint.config(), "config.json");
  LlamaSpec spec;
  spec.n_layers = config.integer("num_hidden_layers", 1, max_layers);
  spec.hidden_size = config.integer("hidden_size", 1, max_dimension);
  spec.intermediate_size = config.integer("intermediate_size", 1, max_dimension);
  spec.n_heads = config.integer("num_attention_heads", 1, max_dimension);
  spec.n_kv_heads = config.integer("num_key_value_heads", 1, max_dimension, spec.n_heads);
  spec.head_dim = config.integer("head_dim", 1, max_dimension, spec.hidden_size / spec.n_heads);
  spec.max_context = config.integer("max_position_embeddings", 1, max_context_tokens, 2048);
  spec.rms_epsilon = config.number("rms_norm_eps", 1e-6f);
  spec.vocab_size = config.integer("vocab_size", 1, max_vocabulary);
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.rope = read_hf_rope(checkpoint.config(), spec.head_dim, spec.max_context);
  if (const std::string activation = config.string("hidden_act", "silu"); activation != "silu")
    throw Error(ErrorKind::unsupported, "the activation \"" + activation + "\" is not implemented",
                "config.json: hidden_act");
  if (config.has("quantization_config"))
    throw Error(ErrorKind::unsupported, "quantised Hugging Face checkpoints are not implemented",
                "config.json: quantization_config", "use the BF16 checkpoint or a GGUF file");
  return spec;
}

void check(const LlamaSpec& spec, bool gguf) {
  const auto fail = [&](const std::string& what, const char* in_config, const char* in_gguf,
                        ErrorKind kind = ErrorKind::invalid_file) {
    throw Error(kind, what, gguf ? spec.architecture + "." + in_gguf : std::string("config.json: ") + in_config);
  };
  if (spec.n_heads % spec.n_kv_heads != 0)
    fail("expected a number that divides " + std::to_string(spec.n_heads) + " heads, found " +
             std::to_string(spec.n_kv_heads),
         "num_key_value_heads", "attention.head_count_kv");
  if (spec.head_dim % 8 != 0 || spec.head_dim > 256)
    fail("expected a multiple of 8, at most 256; found " + std::to_string(spec.head_dim), "head_dim",
         "attention.key_length", ErrorKind::unsupported);
  if (static_cast<std::int64_t>(spec.n_heads) * spec.head_dim > (1 << 24))
    fail("the heads are too wide", "num_attention_heads", "attention.head_count");
  if (!(spec.rms_epsilon > 0.0f && spec.rms_epsilon < 1.0f))
    fail("expected an RMS epsilon in (0, 1)", "rms_norm_eps", "attention.layer_norm_rms_epsilon");
}

}  // namespace

LlamaSpec read_decoder(const Checkpoint& checkpoint, const std::string& architecture) {
  const bool gguf = checkpoint.format() == Checkpoint::Format::gguf;
  LlamaSpec spec = gguf ? read_gguf(checkpoint, architecture) : read_hf(checkpoint);
  spec.architecture = architecture;
  check(spec, gguf);
  if (spec.rope.scaling == RopeScaling::dynamic_ntk)
    spec.max_context = static_cast<int>(std::min(static_cast<double>(max_context_tokens),
                                                 static_cast<double>(spec.rope.factor) * spec.rope.original_context));
  return spec;
}

LlamaSpec read_dense_decoder(const Checkpoint& checkpoint, const std::string& architecture) {
  const GgufReader read(checkpoint, architecture);
  if (checkpoint.format() == Checkpoint::Format::gguf && read.integer("expert_count", 0, max_dimension, 0) != 0)
    throw Error(ErrorKind::unsupported, "experts are not implemented for the architecture " + architecture,
                read.key("expert_count"));
  return read_decoder(checkpoint, architecture);
}

void refuse_feature(const Checkpoint& checkpoint, const char* key) {
  if (checkpoint.format() != Checkpoint::Format::hugging_face) return;
  const auto found = checkpoint.config().find(key);
  if (found == checkpoint.config().end() || found->is_null() || (found->is_boolean() && !found->get<bool>())) return;
  throw Error(ErrorKind::unsupported,
              std::string("the feature \"") + key + "\" is not implemented for this architecture", "config.json");
}

LlamaSpec read_llama(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_decoder(checkpoint, "llama");
  if (checkpoint.format() == Checkpoint::Format::gguf) {
    spec.experts = read_gguf_experts(checkpoint, "llama", spec.n_layers, spec.intermediate_size, true);  // Mixtral
    spec.rope.interleaved = true;  // GGUF stores Llama's q and k with their rows permuted for pairs (2i, 2i + 1)
    spec.qkv_bias = checkpoint.find_tensor("blk.0.attn_q.bias") != nullptr;
    spec.output_bias = checkpoint.find_tensor("blk.0.attn_output.bias") != nullptr;
    spec.mlp_bias = checkpoint.find_tensor("blk.0.ffn_gate.bias") != nullptr;
  } else {
    const ConfigReader config(checkpoint.config(), "config.json");
    spec.qkv_bias = spec.output_bias = config.boolean("attention_bias", false);
    spec.mlp_bias = config.boolean("mlp_bias", false);
    refuse_feature(checkpoint, "sliding_window");
  }
  return spec;
}

std::vector<TensorRule> llama_tensors(const LlamaSpec& spec, Checkpoint::Format format) {
  const std::int64_t hidden = spec.hidden_size, inner = spec.intermediate_size, vocab = spec.vocab_size;
  const std::int64_t q = static_cast<std::int64_t>(spec.n_heads) * spec.head_dim,
                     kv = static_cast<std::int64_t>(spec.n_kv_heads) * spec.head_dim;
  const bool norm = spec.qk_norm != QkNorm::none, each_head = spec.qk_norm == QkNorm::each_head;
  std::vector<TensorRule> rules = {
      {"embedding", "token_embd.weight", "model.embed_tokens.weight", {vocab, hidden}},
      {"output", "output.weight", "lm_head.weight", {vocab, hidden}, !spec.tied_embeddings},
      {"output_norm", "output_norm.weight", "model.norm.weight", {hidden}},
      {"attn_norm", "blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight", {hidden}},
      {"attn_q", "blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight", {q, hidden}},
      {"attn_k", "blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight", {kv, hidden}},
      {"attn_v", "blk.{}.attn_v.weight", "model.layers.{}.self_attn.v_proj.weight", {kv, hidden}},
      {"attn_output", "blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight", {hidden, q}},
      {"attn_q_norm",
       "blk.{}.attn_q_norm.weight",
       "model.layers.{}.self_attn.q_norm.weight",
       {each_head ? spec.head_dim : q},
       norm},
      {"attn_k_norm",
       "blk.{}.attn_k_norm.weight",
       "model.layers.{}.self_attn.k_norm.weight",
       {each_head ? spec.head_dim : kv},
       norm},
      {"attn_q_bias", "blk.{}.attn_q.bias", "model.layers.{}.self_attn.q_proj.bias", {q}, spec.qkv_bias},
      {"attn_k_bias", "blk.{}.attn_k.bias", "model.layers.{}.self_attn.k_proj.bias", {kv}, spec.qkv_bias},
      {"attn_v_bias", "blk.{}.attn_v.bias", "model.layers.{}.self_attn.v_proj.bias", {kv}, spec.qkv_bias},
      {"attn_output_bias",
       "blk.{}.attn_output.bias",
       "model.layers.{}.self_attn.o_proj.bias",
       {hidden},
       spec.output_bias},
      {"ffn_norm", "blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight", {hidden}},
      {"ffn_gate", "blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight", {inner, hidden}},
      {"ffn_up", "blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight", {inner, hidden}},
      {"ffn_down", "blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight", {hidden, inner}},
      {"ffn_gate_bias", "blk.{}.ffn_gate.bias", "model.layers.{}.mlp.gate_proj.bias", {inner}, spec.mlp_bias},
      {"ffn_up_bias", "blk.{}.ffn_up.bias", "model.layers.{}.mlp.up_proj.bias", {inner}, spec.mlp_bias},
      {"ffn_down_bias", "blk.{}.ffn_down.bias", "model.layers.{}.mlp.down_proj.bias", {hidden}, spec.mlp_bias},
  };
  for (TensorRule& rule : expert_tensors(spec.experts, spec.hidden_size, format)) rules.push_back(std::move(rule));
  return rules;
}

std::vector<std::string> llama_ignored(const LlamaSpec& spec) {
  std::vector<std::string> ignored = {"rope_freqs.", "rotary_emb.inv_freq"};
  if (spec.tied_embeddings) ignored.push_back("lm_head.weight");
  return ignored;
}

}  // namespace moebox

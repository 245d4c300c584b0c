#include "spec/gate_attention.h"

namespace moebox {
namespace {

constexpr int max_gate_heads = 256;
constexpr int max_gate_head_dim = 256;

}  // namespace

GateAttentionSpec read_hf_gate_attention(const ConfigReader& config) {
  if (!config.has("gate_attention")) return {};
  const ConfigReader fields = config.object("gate_attention");
  return {fields.integer("num_heads", 1, max_gate_heads), fields.integer("head_dim", 8, max_gate_head_dim)};
}

GateAttentionSpec read_gguf_gate_attention(const GgufReader& read) {
  if (!read.has("expert_gating_attention.head_count")) return {};
  return {read.integer("expert_gating_attention.head_count", 1, max_gate_heads),
          read.integer("expert_gating_attention.key_length", 8, max_gate_head_dim)};
}

int router_columns(const GateSpec& spec, int hidden_size) {
  return spec.attention.n_heads > 0 ? spec.attention.n_values() : hidden_size;
}

std::vector<TensorRule> gate_attention_tensors(const GateSpec& spec, int hidden_size) {
  const std::vector<std::int64_t> shape = {spec.attention.n_values(), hidden_size};
  const bool present = spec.attention.n_heads > 0;
  return {{"router_q", "blk.{}.ffn_gate_inp_q.weight", "model.layers.{}.gate_attention.q_proj.weight", shape, present},
          {"router_k", "blk.{}.ffn_gate_inp_k.weight", "model.layers.{}.gate_attention.k_proj.weight", shape, present},
          {"router_v", "blk.{}.ffn_gate_inp_v.weight", "model.layers.{}.gate_attention.v_proj.weight", shape, present}};
}

}  // namespace moebox

// Architectures of the Llama kind, from a Hugging Face folder.
#include <algorithm>

#include "base/error.h"
#include "convert/architecture_keys.h"
#include "convert/plan.h"

namespace moebox {
namespace {

[[noreturn]] void refuse(std::string_view architecture, const std::string& what, const char* field) {
  throw Error(ErrorKind::unsupported, "GGUF's " + std::string(architecture) + " " + what,
              std::string("config.json: ") + field);
}

/// What the architecture's GGUF files take for granted, and so cannot say otherwise.
void check_expressible(const LlamaSpec& spec, std::string_view architecture) {
  const bool llama = architecture == "llama", qwen2 = architecture.starts_with("qwen2");
  if (!llama && spec.output_bias) refuse(architecture, "has no bias in the attention's output", "attention_bias");
  if (!llama && qwen2 != spec.qkv_bias)
    refuse(architecture, qwen2 ? "has biases of q, k and v" : "has no biases in the attention", "attention_bias");
  if (!llama && spec.mlp_bias) refuse(architecture, "has no biases in the feed-forward", "mlp_bias");
  if (llama && spec.rope.dim != spec.head_dim) refuse(architecture, "rotates whole heads", "partial_rotary_factor");
  const ExpertsSpec& experts = spec.experts;
  if (experts.gate.n_experts == 0) return;
  const bool normalized = llama || architecture == "qwen3moe";
  if (experts.gate.normalize != normalized)
    refuse(architecture, normalized ? "normalises the experts' weights" : "does not normalise the experts' weights",
           "norm_topk_prob");
  if (experts.n_layers() != spec.n_layers)
    refuse(architecture, "has experts in every layer", "decoder_sparse_step, mlp_only_layers");
}

void set_metadata(GgufHeader& header, const LlamaSpec& spec, std::string_view architecture) {
  ArchitectureKeys keys(header, architecture);
  keys.set_decoder(spec);
  keys.set_count("attention.head_count", spec.n_heads);
  keys.set_count("attention.head_count_kv", spec.n_kv_heads);
  keys.set_count("attention.key_length", spec.head_dim);
  keys.set_count("attention.value_length", spec.head_dim);
  set_rope(header, spec.rope, architecture);
  if (spec.rope.scaling == RopeScaling::yarn) {
    // A reader multiplies this with the factor's own mscale.
    const float attention = rope_frequencies(spec.rope).attention_scale;
    const float attn_factor = attention / yarn_mscale(spec.rope.factor, 1.0f);
    check_rope_number(attn_factor, gguf_attn_factor_limits, "rope.scaling.attn_factor",
                      "rope_scaling.attention_factor");
    keys.set_number("rope.scaling.attn_factor", attn_factor);
  }
  const ExpertsSpec& experts = spec.experts;
  if (experts.gate.n_experts == 0) return;
  keys.set_count("expert_count", experts.gate.n_experts);
  keys.set_count("expert_used_count", experts.gate.top_k);
  keys.set_gate_attention(experts.gate.attention);
  if (architecture != "llama") keys.set_count("expert_feed_forward_length", experts.intermediate_size);
  if (experts.shared_intermediate_size > 0)
    keys.set_count("expert_shared_feed_forward_length", experts.shared_intermediate_size);
}

}  // namespace

ConversionPlan plan_llama_kind(const Checkpoint& checkpoint, const LlamaSpec& spec, std::string_view architecture) {
  check_expressible(spec, architecture);
  ConversionPlan plan;
  set_general(plan.header, checkpoint, architecture);
  set_metadata(plan.header, spec, architecture);
  plan.shape = {std::string(architecture), spec.n_layers, spec.n_heads, spec.n_kv_heads, spec.experts.gate.n_experts};

  PlanBuilder build(checkpoint, llama_tensors(spec, Checkpoint::Format::hugging_face),
                    llama_tensors(spec, Checkpoint::Format::gguf), llama_ignored(spec));
  // GGUF's llama rotates neighbouring pairs, the others halves, as the folder does.
  const auto add_rotated = [&](std::string_view role, int layer) {
    PlannedTensor* tensor = build.add(role, layer);
    if (tensor == nullptr || architecture != "llama") return;
    // A bias is one row of the tensor: its values are what has to be paired.
    if (tensor->shape.size() == 1) {
      TensorView& bias = tensor->source.parts.front().view;
      bias.shape = {tensor->shape.front(), 1};
      bias.rank = 2;
    }
    tensor->source.pairs = {spec.head_dim, 0, spec.head_dim};
  };
  build.add("embedding");
  for (int i = 0; i < spec.n_layers; ++i) {
    build.add("attn_norm", i);
    for (const char* role : {"attn_q", "attn_k", "attn_q_bias", "attn_k_bias"}) add_rotated(role, i);
    for (const char* role :
         {"attn_v", "attn_v_bias", "attn_output", "attn_output_bias", "attn_q_norm", "attn_k_norm", "ffn_norm"})
      build.add(role, i);
    if (!spec.experts.in_layer(i)) {
      for (const char* role : {"ffn_gate", "ffn_up", "ffn_down", "ffn_gate_bias", "ffn_up_bias", "ffn_down_bias"})
        build.add(role, i);
      continue;
    }
    for (const char* role : {"router", "router_q", "router_k", "router_v"}) build.add(role, i);
    for (const char* role : {"expert_gate", "expert_up", "expert_down"})
      build.add_experts(role, i, spec.experts.gate.n_experts);
    if (spec.experts.shared_intermediate_size == 0) continue;
    for (const char* role : {"shared_expert_gate", "shared_gate", "shared_up", "shared_down"}) build.add(role, i);
  }
  build.add("output_norm");
  build.add("output");
  if (std::vector<float> divisors = rope_divisors(spec.rope); !divisors.empty())
    build.add_values("rope_freqs.weight", std::move(divisors));
  plan.tensors = build.finish();
  return plan;
}

}  // namespace moebox

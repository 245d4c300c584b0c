// The DeepSeek family, from a Hugging Face folder: GGUF's deepseek2 with k_b and v_b apart.
#include <cmath>

#include "base/error.h"
#include "convert/architecture_keys.h"
#include "convert/plan.h"

namespace moebox {
namespace {

[[noreturn]] void refuse(const std::string& what, const char* field) {
  throw Error(ErrorKind::unsupported, "GGUF's deepseek2 " + what, std::string("config.json: ") + field);
}

void check_expressible(const DeepseekSpec& spec) {
  if (spec.mla.bias) refuse("has no biases in the attention", "attention_bias");
  if (spec.gate.scale == 0.0f) refuse("takes a factor of 0 for none", "routed_scaling_factor");
  const RopeSpec& rope = spec.mla.rope;
  if (rope.scaling != RopeScaling::yarn) return;
  // A reader scales neither cos nor sin: it takes mscale for equal to mscale_all_dim.
  if (std::abs(rope_frequencies(rope).attention_scale - 1.0f) > 1e-6f)
    refuse("has one mscale for the logits and none for the rotation", "mscale, mscale_all_dim");
}

void set_metadata(GgufHeader& header, const DeepseekSpec& spec, bool split_kv_b, int n_mtp_layers) {
  ArchitectureKeys keys(header, "deepseek2");
  keys.set_decoder(spec);
  if (n_mtp_layers > 0) {
    keys.set_count("block_count", spec.n_layers + n_mtp_layers);
    keys.set_count("nextn_predict_layers", n_mtp_layers);
  }
  const MlaSpec& mla = spec.mla;
  keys.set_count("leading_dense_block_count", spec.n_dense_layers);
  keys.set_count("attention.head_count", mla.n_heads);
  // The absorbed form sees the latent as one key head.
  keys.set_count("attention.head_count_kv", split_kv_b ? 1 : mla.n_heads);
  keys.set_count("attention.key_length", split_kv_b ? mla.latent_dim() : mla.qk_head_dim());
  keys.set_count("attention.value_length", split_kv_b ? mla.kv_lora_rank : mla.v_head_dim);
  if (split_kv_b) {
    keys.set_count("attention.key_length_mla", mla.qk_head_dim());
    keys.set_count("attention.value_length_mla", mla.v_head_dim);
  }
  if (mla.q_lora_rank > 0) keys.set_count("attention.q_lora_rank", mla.q_lora_rank);
  keys.set_count("attention.kv_lora_rank", mla.kv_lora_rank);
  set_rope(header, mla.rope, "deepseek2");
  if (mla.rope.scaling == RopeScaling::yarn)
    keys.set_number("rope.scaling.yarn_log_multiplier", 0.1f * mla.rope.mscale_all_dim);

  const GateSpec& gate = spec.gate;
  keys.set_count("expert_count", gate.n_experts);
  keys.set_count("expert_used_count", gate.top_k);
  keys.set_count("expert_shared_count", spec.shared_intermediate_size / spec.moe_intermediate_size);
  keys.set_count("expert_feed_forward_length", spec.moe_intermediate_size);
  keys.set_number("expert_weights_scale", gate.scale);
  keys.set_flag("expert_weights_norm", gate.normalize);
  constexpr int softmax = 1, sigmoid = 2;
  keys.set_count("expert_gating_func", gate.score == GateScore::sigmoid ? sigmoid : softmax);
  keys.set_gate_attention(gate.attention);
  if (gate.n_groups > 1) {
    keys.set_count("expert_group_count", gate.n_groups);
    keys.set_count("expert_group_used_count", gate.top_groups);
  }
}

/// kv_b, (heads, nope + v, rank), as k_b (heads, rank, nope), which the absorbed form multiplies by, and v_b (heads, v,
/// rank).
void add_kv_b(PlanBuilder& build, const MlaSpec& mla, int layer) {
  const StoredPart both = build.stored("attn_kv_b", layer);
  const std::int64_t head_rows = mla.qk_nope_head_dim + mla.v_head_dim;
  TensorSource k, v;
  k.parts = v.parts = {both};
  k.heads = {head_rows, 0, mla.qk_nope_head_dim, true};
  v.heads = {head_rows, mla.qk_nope_head_dim, mla.v_head_dim, false};
  build.add_from("attn_k_b", layer, std::move(k));
  build.add_from("attn_v_b", layer, std::move(v));
}

}  // namespace

ConversionPlan plan_deepseek(const Checkpoint& checkpoint, const DeepseekSpec& spec,
                             const DeepseekConversion& options) {
  check_expressible(spec);
  const bool keep_mtp = options.keep_mtp && has_mtp(spec, checkpoint);
  if (keep_mtp && spec.gate.attention.n_heads > 0)
    throw Error(ErrorKind::unsupported,
                "a layer that predicts further tokens is not implemented for gates with an attention of their own",
                checkpoint.path().string(), "leave it out: --no-mtp");
  const int n_mtp_layers = keep_mtp ? 1 : 0;  // of several the first one, which is all that is used
  const bool split_kv_b = options.split_kv_b;
  ConversionPlan plan;
  set_general(plan.header, checkpoint, "deepseek2");
  set_metadata(plan.header, spec, split_kv_b, n_mtp_layers);
  plan.shape = {"deepseek2", spec.n_layers, spec.mla.n_heads, spec.mla.n_heads, spec.gate.n_experts};

  const MlaSpec& mla = spec.mla;
  PlanBuilder build(checkpoint, deepseek_tensors(spec), deepseek_tensors(spec),
                    deepseek_ignored(spec, Checkpoint::Format::hugging_face, n_mtp_layers));
  const PairedRows none;
  const auto paired = [&](std::int64_t head_rows) {
    return mla.rope.interleaved ? none : PairedRows{head_rows, head_rows - mla.qk_rope_head_dim, mla.qk_rope_head_dim};
  };
  build.add("embedding");
  for (int i = 0; i < spec.n_layers + n_mtp_layers; ++i) {
    build.add("attn_norm", i);
    if (mla.q_lora_rank > 0) {
      build.add("attn_q_a", i);
      build.add("attn_q_a_norm", i);
    }
    build.add(mla.q_lora_rank > 0 ? "attn_q_b" : "attn_q", i)->source.pairs = paired(mla.qk_head_dim());
    build.add("attn_kv_a", i)->source.pairs = paired(mla.latent_dim());
    build.add("attn_kv_a_norm", i);
    if (split_kv_b)
      add_kv_b(build, mla, i);
    else
      build.add("attn_kv_b", i);
    build.add("attn_output", i);
    build.add("ffn_norm", i);
    if (i < spec.n_dense_layers) {
      for (const char* role : {"ffn_gate", "ffn_up", "ffn_down"}) build.add(role, i);
      continue;
    }
    for (const char* role : {"router", "router_q", "router_k", "router_v"}) build.add(role, i);
    build.add("router_bias", i);
    for (const char* role : {"expert_gate", "expert_up", "expert_down"})
      build.add_experts(role, i, spec.gate.n_experts);
    if (spec.shared_intermediate_size == 0) continue;
    for (const char* role : {"shared_gate", "shared_up", "shared_down"}) build.add(role, i);
  }
  if (n_mtp_layers > 0)
    for (const char* role :
         {"mtp_token_norm", "mtp_hidden_norm", "mtp_projection", "mtp_embedding", "mtp_output_norm", "mtp_output"})
      build.add(role, spec.n_layers);
  build.add("output_norm");
  build.add("output");
  plan.tensors = build.finish();
  return plan;
}

}  // namespace moebox

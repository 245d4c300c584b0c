// Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention; experts with a softmax gate, and a shared one that is scaled by a
// sigmoid.
#include <nlohmann/json.hpp>

#include "spec/config_reader.h"
#include "spec/limits.h"
#include "spec/llama.h"

namespace moebox {

LlamaSpec read_qwen2moe(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_decoder(checkpoint, "qwen2moe");
  refuse_feature(checkpoint, "use_sliding_window");
  if (checkpoint.format() == Checkpoint::Format::gguf) {
    spec.qkv_bias = true;
    spec.experts = read_gguf_experts(checkpoint, "qwen2moe", spec.n_layers, spec.intermediate_size, false);
    return spec;
  }
  const ConfigReader config(checkpoint.config(), "config.json");
  spec.qkv_bias = config.boolean("qkv_bias", true);
  spec.experts =
      read_hf_experts(checkpoint, spec.n_layers, config.integer("moe_intermediate_size", 1, max_dimension), false);
  spec.experts.shared_intermediate_size = config.integer("shared_expert_intermediate_size", 1, max_dimension);
  spec.experts.shared_gate = true;
  return spec;
}

}  // namespace moebox

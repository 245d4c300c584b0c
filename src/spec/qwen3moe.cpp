// Qwen3-MoE: Qwen3's attention and experts with a softmax gate, normalised in all published models.
#include <nlohmann/json.hpp>

#include "spec/config_reader.h"
#include "spec/limits.h"
#include "spec/llama.h"

namespace moebox {

LlamaSpec read_qwen3moe(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_decoder(checkpoint, "qwen3moe");
  read_qwen3_attention(checkpoint, spec);
  if (checkpoint.format() == Checkpoint::Format::gguf) {
    spec.experts = read_gguf_experts(checkpoint, "qwen3moe", spec.n_layers, spec.intermediate_size, true);
    return spec;
  }
  const ConfigReader config(checkpoint.config(), "config.json");
  spec.experts =
      read_hf_experts(checkpoint, spec.n_layers, config.integer("moe_intermediate_size", 1, max_dimension), false);
  return spec;
}

}  // namespace moebox

// OLMoE (arXiv 2409.02060): Llama's block with norms over all queries and all keys, experts with a softmax gate.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "spec/config_reader.h"
#include "spec/llama.h"

namespace moebox {

LlamaSpec read_olmoe(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_decoder(checkpoint, "olmoe");
  spec.qk_norm = QkNorm::all_heads;
  if (checkpoint.format() == Checkpoint::Format::gguf) {
    if (checkpoint.number("olmoe.attention.clamp_kqv", 0.0) != 0.0)
      throw Error(ErrorKind::unsupported, "clamped queries, keys and values are not implemented",
                  "olmoe.attention.clamp_kqv");
    spec.experts = read_gguf_experts(checkpoint, "olmoe", spec.n_layers, spec.intermediate_size, false);
    return spec;
  }
  refuse_feature(checkpoint, "clip_qkv");
  spec.qkv_bias = spec.output_bias = ConfigReader(checkpoint.config(), "config.json").boolean("attention_bias", false);
  spec.experts = read_hf_experts(checkpoint, spec.n_layers, spec.intermediate_size, false);
  return spec;
}

}  // namespace moebox

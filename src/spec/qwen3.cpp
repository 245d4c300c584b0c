// Qwen3: Llama's block with a norm on each head's query and key before RoPE over the two halves of a head.
#include <nlohmann/json.hpp>

#include "spec/config_reader.h"
#include "spec/llama.h"

namespace moebox {

void read_qwen3_attention(const Checkpoint& checkpoint, LlamaSpec& spec) {
  spec.qk_norm = QkNorm::each_head;
  refuse_feature(checkpoint, "use_sliding_window");
  if (checkpoint.format() == Checkpoint::Format::hugging_face)
    spec.qkv_bias = spec.output_bias =
        ConfigReader(checkpoint.config(), "config.json").boolean("attention_bias", false);
}

LlamaSpec read_qwen3(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_dense_decoder(checkpoint, "qwen3");
  read_qwen3_attention(checkpoint, spec);
  return spec;
}

}  // namespace moebox

// Qwen2 and Qwen2.5: Llama's block with biases on q, k and v, and RoPE over the two halves of a head.
#include "spec/llama.h"

namespace moebox {

LlamaSpec read_qwen2(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_dense_decoder(checkpoint, "qwen2");
  spec.qkv_bias = true;
  refuse_feature(checkpoint, "use_sliding_window");
  return spec;
}

}  // namespace moebox

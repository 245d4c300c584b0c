// Mixtral (arXiv 2401.04088): Llama with experts; the softmax is over the chosen ones, which is a softmax over all,
// normalised. Its GGUF files say "llama".
#include "spec/llama.h"

namespace moebox {

LlamaSpec read_mixtral(const Checkpoint& checkpoint) {
  LlamaSpec spec = read_decoder(checkpoint, "mixtral");
  refuse_feature(checkpoint, "sliding_window");
  spec.experts = read_hf_experts(checkpoint, spec.n_layers, spec.intermediate_size, true);
  spec.experts.names = {"model.layers.{}.block_sparse_moe.gate.weight",
                        "model.layers.{}.block_sparse_moe.experts.{expert}.w1.weight",
                        "model.layers.{}.block_sparse_moe.experts.{expert}.w3.weight",
                        "model.layers.{}.block_sparse_moe.experts.{expert}.w2.weight"};
  return spec;
}

}  // namespace moebox

// What a decoder of the Llama kind is: pre-norm blocks of grouped-query attention with RoPE, and a SwiGLU network or
// experts. Qwen2 is the same with biases on q, k and v; each architecture reads its own file into this one description.
#pragma once

#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "spec/experts.h"
#include "spec/rope.h"
#include "spec/tensor_table.h"

namespace moebox {

/// Norms of queries and keys, before RoPE.
enum class QkNorm {
  none,
  each_head,  // weights (head_dim), shared by all heads: Qwen3
  all_heads   // weights for the whole row: OLMoE
};

struct LlamaSpec {
  std::string architecture;
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int max_context = 0;  // tokens
  float rms_epsilon = 1e-5f;
  RopeSpec rope;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of the attention's output projection
  bool mlp_bias = false;
  QkNorm qk_norm = QkNorm::none;
  ExpertsSpec experts;
};

LlamaSpec read_llama(const Checkpoint& checkpoint);
LlamaSpec read_qwen2(const Checkpoint& checkpoint);
LlamaSpec read_qwen3(const Checkpoint& checkpoint);
LlamaSpec read_qwen2moe(const Checkpoint& checkpoint);
LlamaSpec read_qwen3moe(const Checkpoint& checkpoint);
LlamaSpec read_olmoe(const Checkpoint& checkpoint);
LlamaSpec read_mixtral(const Checkpoint& checkpoint);

/// Every tensor of such a model, with shapes from the spec.
std::vector<TensorRule> llama_tensors(const LlamaSpec& spec, Checkpoint::Format format);
/// Parts of the names of tensors that are left out: rotary frequencies, a copy of a tied embedding.
std::vector<std::string> llama_ignored(const LlamaSpec& spec);

/// The part that all architectures share: sizes from GGUF's `<architecture>.*` or from config.json. Not yet: biases,
/// RoPE pairing, experts.
LlamaSpec read_decoder(const Checkpoint& checkpoint, const std::string& architecture);
/// The same for an architecture without experts: a file that says it has some is refused.
LlamaSpec read_dense_decoder(const Checkpoint& checkpoint, const std::string& architecture);
/// What Qwen3 and its form with experts share.
void read_qwen3_attention(const Checkpoint& checkpoint, LlamaSpec& spec);
/// Throws Error(unsupported) when config.json's field `key` is set and not false: a feature that would change the
/// numbers.
void refuse_feature(const Checkpoint& checkpoint, const char* key);

}  // namespace moebox

// What the DeepSeek family is: multi-head latent attention (MLA) and DeepSeekMoE, as DeepSeek-V2 (arXiv 2405.04434) and
// DeepSeek-V3 (arXiv 2412.19437) describe them. V2-Lite, V2, V2.5, V3, R1 and models made in their image differ in
// numbers only.
#pragma once

#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "routing/gate.h"
#include "spec/rope.h"
#include "spec/tensor_table.h"

namespace moebox {

/// Multi-head latent attention: keys and values of all heads come from one latent a token.
struct MlaSpec {
  int n_heads = 0;
  int q_lora_rank = 0;  // 0: queries are projected at once
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;  // of a head's query and key, the part without positions
  int qk_rope_head_dim = 0;  // the rotated part; its key is shared by all heads
  int v_head_dim = 0;
  float softmax_scale = 0;       // 1 / sqrt(qk_head_dim), times YaRN's mscale squared
  float latent_epsilon = 1e-6f;  // of the norms of the latents: a constant of the architecture
  bool bias = false;             // of q_a, kv_a and the output projection
  bool split_kv_b = false;       // the file has k_b and v_b apart (GGUF), k_b for the absorbed form
  RopeSpec rope;

  int qk_head_dim() const noexcept { return qk_nope_head_dim + qk_rope_head_dim; }
  int latent_dim() const noexcept { return kv_lora_rank + qk_rope_head_dim; }  // what the cache holds of a token
};

struct DeepseekSpec {
  std::string architecture;
  int vocab_size = 0;
  int hidden_size = 0;
  int n_layers = 0;                  // without those that predict further tokens
  int n_dense_layers = 0;            // the leading layers, which have no experts
  int n_mtp_layers = 0;              // behind them, for multi-token prediction: loaded only when it is asked for
  int intermediate_size = 0;         // of a dense layer
  int moe_intermediate_size = 0;     // of one expert
  int shared_intermediate_size = 0;  // of all shared experts together; 0: none
  int max_context = 0;               // tokens
  float rms_epsilon = 1e-6f;
  bool tied_embeddings = false;
  bool gate_bias = false;                          // a correction bias for the choice of experts
  bool mtp_embedding = false, mtp_output = false;  // the first of the layers behind has its own, not the model's
  MlaSpec mla;
  GateSpec gate;
};

/// Reads and checks the sizes of a `deepseek2` GGUF or of DeepseekV2ForCausalLM and DeepseekV3ForCausalLM. Throws Error
/// that names the field.
DeepseekSpec read_deepseek(const Checkpoint& checkpoint);

/// Every tensor of such a model. Rules of experts hold one expert's shape (see TensorFinder::experts()).
std::vector<TensorRule> deepseek_tensors(const DeepseekSpec& spec);
/// Parts of the names of tensors that are left out: rotary frequencies, a copy of a tied embedding, the layers that
/// predict further tokens but for the first `n_mtp_used` ones.
std::vector<std::string> deepseek_ignored(const DeepseekSpec& spec, Checkpoint::Format format, int n_mtp_used = 0);
/// Whether the files hold the first of these layers.
bool has_mtp(const DeepseekSpec& spec, const Checkpoint& checkpoint);
/// Throws Error(unsupported) that says what is missing when the checkpoint has no layer that predicts a further token,
/// or one with a gate that such a layer cannot have here.
void check_mtp(const DeepseekSpec& spec, const Checkpoint& checkpoint);

}  // namespace moebox

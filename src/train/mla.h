// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) in its expanded form, the one of prompts.
#pragma once

#include "spec/deepseek.h"
#include "train/pass.h"

namespace moebox::train {

struct MlaWeights {
  Tensor q;                             // (heads * qk_head_dim, hidden_size); undefined with a q_lora
  Tensor q_a, q_a_bias, q_a_norm, q_b;  // (q_lora_rank, hidden_size), ..., (heads * qk_head_dim, q_lora_rank)
  Tensor kv_a, kv_a_bias, kv_a_norm;    // (latent_dim, hidden_size), (latent_dim), (kv_lora_rank)
  Tensor kv_b;                          // (heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank)
  Tensor output, output_bias;           // (hidden_size, heads * v_head_dim), (hidden_size)
};

MlaWeights add_mla(WeightSet& weights, const MlaSpec& spec, int layer);

/// x (n_tokens, hidden_size), normed: the same shape, in x's type.
Tensor mla(const MlaSpec& spec, const MlaWeights& weights, const Tensor& x, const Pass& pass);

}  // namespace moebox::train

#include "train/mla.h"

#include "train/attention.h"
#include "train/cpu_compute.h"
#include "train/cpu_operators.h"
#include "train/norm.h"
#include "train/projection.h"
#include "train/tensor_ranks.h"

namespace moebox::train {

MlaWeights add_mla(WeightSet& weights, const MlaSpec& spec, int layer) {
  MlaWeights added;
  if (spec.q_lora_rank > 0) {
    added.q_a = weights.add({"attn_q_a"}, layer);
    added.q_a_bias = weights.add({"attn_q_a_bias"}, layer);
    added.q_a_norm = weights.add({"attn_q_a_norm"}, layer);
    added.q_b = weights.add({"attn_q_b"}, layer);
  } else {
    added.q = weights.add({"attn_q"}, layer);
  }
  added.kv_a = weights.add({"attn_kv_a"}, layer);
  added.kv_a_bias = weights.add({"attn_kv_a_bias"}, layer);
  added.kv_a_norm = weights.add({"attn_kv_a_norm"}, layer);
  added.kv_b = weights.add({"attn_kv_b"}, layer);
  added.output = weights.add({"attn_output"}, layer);
  added.output_bias = weights.add({"attn_output_bias"}, layer);
  return added;
}

Tensor mla(const MlaSpec& spec, const MlaWeights& weights, const Tensor& x, const Pass& pass) {
  const double epsilon = spec.latent_epsilon;
  // Of heads, this rank's; the latent rows are for all of them.
  const std::int64_t n_heads = share_of(spec.n_heads, pass.tensor);
  const auto of_heads = [&](const Tensor& weight) { return share_of(weight, 0, pass.tensor); };
  const auto output_of = [&](const Tensor& attended) {
    const Tensor sum = add_up_shares(project(attended, share_of(weights.output, 1, pass.tensor)), pass.tensor);
    return with_bias(sum, weights.output_bias);
  };
  const Tensor flat_q =
      weights.q.defined()
          ? project(x, of_heads(weights.q))
          : project(rms_norm(project(x, weights.q_a, weights.q_a_bias), weights.q_a_norm, epsilon, pass.type),
                    of_heads(weights.q_b));
  const Tensor latent = project(x, weights.kv_a, weights.kv_a_bias);
  const Tensor flat_kv = project(
      rms_norm(latent.narrow(1, 0, spec.kv_lora_rank), weights.kv_a_norm, epsilon, pass.type), of_heads(weights.kv_b));
  const Tensor flat_k_rope = latent.narrow(1, spec.kv_lora_rank, spec.qk_rope_head_dim);
  if (is_for_cpu_operators(x)) {
    const Tensor attended = cpu_latent_attention(
        flat_q, flat_kv, flat_k_rope, pass.documents, pass.rope,
        {pass.n_sequences, pass.length, n_heads, spec.qk_nope_head_dim, spec.v_head_dim, spec.softmax_scale});
    return output_of(attended);
  }
  const Tensor q = pass.heads(flat_q, n_heads), kv = pass.heads(flat_kv, n_heads);
  // The rotated part of the key is one for all heads.
  const Tensor k_rope = rotate(pass.heads(flat_k_rope, 1), pass.rope)
                            .expand({pass.n_sequences, pass.length, n_heads, spec.qk_rope_head_dim});
  const Tensor q_rope = rotate(q.narrow(3, spec.qk_nope_head_dim, spec.qk_rope_head_dim), pass.rope);
  const Tensor queries = at::cat({q.narrow(3, 0, spec.qk_nope_head_dim), q_rope}, 3);
  const Tensor keys = at::cat({kv.narrow(3, 0, spec.qk_nope_head_dim), k_rope}, 3);
  const Tensor values = kv.narrow(3, spec.qk_nope_head_dim, spec.v_head_dim);
  const Tensor attended = attention(queries, keys, values, pass.documents, spec.softmax_scale);
  return output_of(pass.rows(attended));
}

}  // namespace moebox::train

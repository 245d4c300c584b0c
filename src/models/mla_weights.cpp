// Loading of latent attention's weights: both published shapes of kv_b become a matrix a head, once as the expanded
// form needs it and once transposed for the absorbed form.
#include "models/mla.h"

namespace moebox {

ActivationTypes MlaWeights::types() const {
  ActivationTypes types{&kv_a, &output, &first_q()};
  if (q_b.n_rows > 0) types |= ActivationTypes{&q_b};
  for (std::size_t h = 0; h < k.size(); ++h) types |= ActivationTypes{&k[h], &k_absorbed[h], &v[h]};
  return types;
}

std::size_t MlaWeights::read_bytes_per_token() const noexcept {
  std::size_t sum = bytes_of(q) + bytes_of(q_a) + bytes_of(q_b) + bytes_of(kv_a) + bytes_of(output);
  for (std::size_t h = 0; h < v.size(); ++h) sum += bytes_of(k_absorbed[h]) + bytes_of(v[h]);
  return sum;
}

std::int64_t MlaWeights::products_per_prompt_token() const noexcept {
  std::int64_t sum = products_of(q) + products_of(q_a) + products_of(q_b) + products_of(kv_a) + products_of(output);
  for (std::size_t h = 0; h < v.size(); ++h) sum += products_of(k[h]) + products_of(v[h]);
  return sum;
}

namespace {

/// Matrix `index` of a tensor (n, rows, columns).
StoredMatrix head_matrix(const TensorView& tensor, int index) {
  TensorView flat = tensor;
  flat.rank = 2;
  flat.shape = {tensor.shape[0] * tensor.shape[1], tensor.shape[2]};
  return StoredMatrix{flat}.rows(index * tensor.shape[1], tensor.shape[1]);
}

}  // namespace

void load_mla(const MlaSpec& spec, TensorFinder& find, WeightPacker& packer, int layer, MlaWeights& weights) {
  const auto add = [&](const char* role, PackedMatrix& target) {
    packer.add(stored_matrix(find, find.get(role, layer)), &target);
  };
  if (spec.q_lora_rank > 0) {
    add("attn_q_a", weights.q_a);
    weights.q_a_norm = to_floats(&find.get("attn_q_a_norm", layer));
    weights.q_a_bias = to_floats(find.find("attn_q_a_bias", layer));
    add("attn_q_b", weights.q_b);
  } else {
    add("attn_q", weights.q);
  }
  add("attn_kv_a", weights.kv_a);
  weights.kv_a_norm = to_floats(&find.get("attn_kv_a_norm", layer));
  weights.kv_a_bias = to_floats(find.find("attn_kv_a_bias", layer));

  const auto n_heads = static_cast<std::size_t>(spec.n_heads);
  weights.k.resize(n_heads);
  weights.k_absorbed.resize(n_heads);
  weights.v.resize(n_heads);
  for (int h = 0; h < spec.n_heads; ++h) {
    const auto head = static_cast<std::size_t>(h);
    StoredMatrix k, v;
    if (spec.split_kv_b) {
      k = head_matrix(find.get("attn_k_b", layer), h).transpose();
      v = head_matrix(find.get("attn_v_b", layer), h);
    } else {
      const StoredMatrix both = stored_matrix(find, find.get("attn_kv_b", layer));
      const int first = h * (spec.qk_nope_head_dim + spec.v_head_dim);
      k = both.rows(first, spec.qk_nope_head_dim);
      v = both.rows(first + spec.qk_nope_head_dim, spec.v_head_dim);
    }
    packer.add(k, &weights.k[head]);
    packer.add(k.transpose(), &weights.k_absorbed[head]);
    packer.add(v, &weights.v[head]);
  }
  add("attn_output", weights.output);
  weights.output_bias = to_floats(find.find("attn_output_bias", layer));
}

}  // namespace moebox

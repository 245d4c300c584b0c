#include "models/moe.h"
#include "models/router_matrix.h"

namespace moebox {

std::size_t MoeWeights::read_bytes_per_token(int top_k) const noexcept {
  std::size_t sum = 0;
  for (const GatedMlp& expert : experts) sum += expert.bytes();
  if (!experts.empty()) sum = sum / experts.size() * static_cast<std::size_t>(top_k);
  return sum + attention.bytes() + bytes_of(router) + shared.bytes();
}

std::int64_t MoeWeights::products_per_token(int top_k) const noexcept {
  const std::int64_t chosen = experts.empty() ? 0 : experts.front().products() * top_k;
  return chosen + attention.products() + products_of(router) + shared.products();
}

void load_moe(const MoeParts& parts, TensorFinder& find, WeightPacker& packer, int layer, MoeWeights& weights) {
  if (parts.gate.attention.n_heads > 0) load_gate_attention(find, packer, layer, weights.attention);
  packer.add(router_matrix(find, "router", layer), &weights.router);
  if (const TensorView* bias = find.find("router_bias", layer)) {
    weights.router_bias = to_floats(bias);
    validate_bias(parts.gate, weights.router_bias, "tensor " + bias->name);
  }
  const int n_experts = parts.gate.n_experts;
  weights.experts.resize(static_cast<std::size_t>(n_experts));
  const auto gates = find.experts("expert_gate", layer, n_experts);
  const auto ups = find.experts("expert_up", layer, n_experts);
  const auto downs = find.experts("expert_down", layer, n_experts);
  for (std::size_t e = 0; e < weights.experts.size(); ++e) {
    packer.begin_expert(layer, static_cast<int>(e));
    packer.add(stored_matrix(find, gates[e]), &weights.experts[e].gate);
    packer.add(stored_matrix(find, ups[e]), &weights.experts[e].up);
    packer.add(stored_matrix(find, downs[e]), &weights.experts[e].down);
    packer.end_expert();
    weights.input_types |= weights.experts[e].input_types();
  }
  if (!parts.shared) return;
  if (parts.shared_gate) weights.shared_gate = to_floats(&find.get("shared_expert_gate", layer));
  packer.add(stored_matrix(find, find.get("shared_gate", layer)), &weights.shared.gate);
  packer.add(stored_matrix(find, find.get("shared_up", layer)), &weights.shared.up);
  packer.add(stored_matrix(find, find.get("shared_down", layer)), &weights.shared.down);
  weights.input_types |= weights.shared.input_types();
}

}  // namespace moebox

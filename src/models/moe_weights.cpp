#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/moe.h"

namespace moebox {
namespace {

void check_router(const TensorView& router) {
  const std::vector<float> values = to_floats(&router);
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
    throw Error(ErrorKind::invalid_file, "a router must have finite weights, found a NaN or an infinity",
                "tensor " + router.name);
}

}  // namespace

void load_moe(const MoeParts& parts, TensorFinder& find, WeightPacker& packer, int layer, MoeWeights& weights) {
  const TensorView& router = find.get("router", layer);
  if (router.dtype == DType::f8_e4m3)
    throw Error(ErrorKind::unsupported, "a router in FP8 is not implemented", "tensor " + router.name);
  check_router(router);
  packer.add(router, &weights.router);
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
    packer.add(stored_matrix(find, gates[e]), &weights.experts[e].gate);
    packer.add(stored_matrix(find, ups[e]), &weights.experts[e].up);
    packer.add(stored_matrix(find, downs[e]), &weights.experts[e].down);
  }
  if (!parts.shared) return;
  if (parts.shared_gate) weights.shared_gate = to_floats(&find.get("shared_expert_gate", layer));
  packer.add(stored_matrix(find, find.get("shared_gate", layer)), &weights.shared.gate);
  packer.add(stored_matrix(find, find.get("shared_up", layer)), &weights.shared.up);
  packer.add(stored_matrix(find, find.get("shared_down", layer)), &weights.shared.down);
}

}  // namespace moebox

#include "train/experts.h"

#include <vector>

#include "train/cpu_compute.h"
#include "train/cpu_operators.h"
#include "train/projection.h"
#include "train/swiglu.h"

namespace moebox::train {

Tensor experts(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up, const Tensor& down) {
  if (is_for_cpu_operators(x)) return cpu_experts(x, ids, weights, gate_up, down);
  const std::int64_t n_experts = gate_up.size(0), top_k = ids.size(1);
  // The slots (token, place among its experts), sorted by expert; those without one come first and are left out.
  const Tensor flat = ids.reshape(-1);
  const Tensor slots = flat.argsort(true, 0, false);
  const Tensor counts = at::bincount(flat + 1, {}, n_experts + 1).cpu();
  const auto* count = counts.const_data_ptr<std::int64_t>();
  std::vector<Tensor> outputs, tokens;
  std::int64_t first = count[0];
  for (std::int64_t expert = 0; expert < n_experts; ++expert) {
    const std::int64_t n = count[expert + 1];
    if (n == 0) continue;
    const Tensor of_expert = slots.narrow(0, first, n);
    const Tensor token = at::floor_divide(of_expert, top_k);
    const Tensor inner = swiglu(project(x.index_select(0, token), gate_up.select(0, expert)));
    const Tensor weight = weights.reshape(-1).index_select(0, of_expert).unsqueeze(1);
    outputs.push_back(project(inner, down.select(0, expert)).to(at::kFloat) * weight);
    tokens.push_back(token);
    first += n;
  }
  const Tensor sum = at::zeros({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
  if (outputs.empty()) return sum.to(x.scalar_type());
  return sum.index_add(0, at::cat(tokens), at::cat(outputs)).to(x.scalar_type());
}

}  // namespace moebox::train

#include "train/loss.h"

#include "train/balance.h"
#include "train/cross_entropy.h"

namespace moebox::train {
namespace {

Tensor mean_over_layers(const std::vector<LayerRouting>& routing, const auto& of_layer) {
  Tensor sum;
  for (const LayerRouting& layer : routing) {
    const Tensor value = of_layer(layer);
    sum = sum.defined() ? sum + value : value;
  }
  return sum / static_cast<double>(routing.size());
}

std::int64_t count_targets(const Tensor& targets) { return targets.ne(no_target).sum().item<std::int64_t>(); }

}  // namespace

Tensor further_targets(const Batch& batch, std::int64_t distance) {
  const std::int64_t length = batch.length(), kept = std::max<std::int64_t>(length - distance, 0);
  const Tensor targets = at::full_like(batch.targets, no_target);
  if (kept == 0) return targets;
  Tensor moved = batch.targets.narrow(1, distance, kept);
  if (batch.documents.defined()) {
    const Tensor same = batch.documents.narrow(1, distance, kept).eq(batch.documents.narrow(1, 0, kept));
    moved = at::where(same, moved, at::full_like(moved, no_target));
  }
  targets.narrow(1, 0, kept).copy_(moved);
  return targets;
}

Loss compute_loss(const Model& model, const Batch& batch, const ForwardResult& result, const LossOptions& options,
                  std::int64_t n_targets) {
  Loss loss;
  const Tensor targets = batch.targets.reshape(-1).to(result.rows.device());
  loss.n_targets = count_targets(targets);
  const double all = static_cast<double>(n_targets > 0 ? n_targets : loss.n_targets);
  const double share = static_cast<double>(loss.n_targets) / all;
  const auto mean = [&](const Tensor& sum) { return sum.detach() / static_cast<double>(loss.n_targets); };
  const Tensor sum = cross_entropy(result.rows, model.head(), targets, options.chunk_tokens);
  loss.cross_entropy = mean(sum);
  loss.total = sum / all;
  const double n_further = static_cast<double>(result.further_rows.size());
  for (std::size_t i = 0; i < result.further_rows.size(); ++i) {
    const Tensor further =
        further_targets(batch, static_cast<std::int64_t>(i) + 1).reshape(-1).to(result.rows.device());
    const std::int64_t n = count_targets(further);
    if (n == 0) {  // documents of a token or two
      loss.further.push_back(at::zeros_like(loss.cross_entropy));
      continue;
    }
    const Tensor of_layer =
        cross_entropy(result.further_rows[i], model.further_head(i), further, options.chunk_tokens) /
        static_cast<double>(n);
    loss.further.push_back(of_layer.detach());
    loss.total = loss.total + of_layer * (options.further_weight / n_further * share);
  }
  if (result.routing.empty()) return loss;
  const Tensor balance = mean_over_layers(result.routing, [&](const LayerRouting& layer) {
    return balance_loss(layer.gate, layer.logits, layer.ids, result.valid, batch.n_sequences());
  });
  const Tensor z =
      mean_over_layers(result.routing, [&](const LayerRouting& layer) { return z_loss(layer.logits, result.valid); });
  if (options.balance_weight != 0.0) loss.total = loss.total + balance * (options.balance_weight * share);
  if (options.z_weight != 0.0) loss.total = loss.total + z * (options.z_weight * share);
  loss.balance = balance.detach();
  loss.z = z.detach();
  return loss;
}

}  // namespace moebox::train

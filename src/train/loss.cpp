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

/// The sum over tokens with a target; 0 where there is none.
Tensor sum_of_losses(const Tensor& rows, const Tensor& head, const Tensor& targets, std::int64_t chunk) {
  const Tensor all = targets.reshape(-1).to(rows.device());
  if (!all.ne(no_target).any().item<bool>()) return at::zeros({}, rows.options().dtype(at::kFloat));
  return cross_entropy(rows, head, all, chunk);
}

double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(whole, 1));
}

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

BatchCounts count(const Batch& batch) {
  BatchCounts counts{.n_targets = batch.targets.ne(no_target).sum().item<std::int64_t>(),
                     .n_tokens = batch.tokens.numel(),
                     .n_sequences = batch.n_sequences()};
  if (!batch.documents.defined()) return counts;
  const Tensor is_token = batch.documents.ge(0);
  counts.n_tokens = is_token.sum().item<std::int64_t>();
  counts.n_sequences = is_token.any(1).sum().item<std::int64_t>();
  return counts;
}

Loss compute_loss(const Model& model, const Batch& batch, const ForwardResult& result, const LossOptions& options,
                  const BatchCounts& whole) {
  if (whole.n_targets == 0) refuse_empty_mask();
  Loss loss;
  const double all = static_cast<double>(whole.n_targets);
  loss.total = sum_of_losses(result.rows, model.head(), batch.targets, options.chunk_tokens) / all;
  loss.cross_entropy = loss.total.detach();
  const double n_further = static_cast<double>(result.further_rows.size());
  for (std::size_t i = 0; i < result.further_rows.size(); ++i) {
    const Tensor targets = further_targets(batch, static_cast<std::int64_t>(i) + 1);
    const Tensor further =
        sum_of_losses(result.further_rows[i], model.further_head(i), targets, options.chunk_tokens) / all;
    loss.further.push_back(further.detach());
    loss.total = loss.total + further * (options.further_weight / n_further);
  }
  loss.balance = loss.z = at::zeros_like(loss.cross_entropy);
  if (result.routing.empty()) return loss;
  const BatchCounts part = count(batch);
  const Tensor balance =
      ratio(part.n_sequences, whole.n_sequences) * mean_over_layers(result.routing, [&](const LayerRouting& layer) {
        return balance_loss(layer.gate, layer.logits, layer.ids, result.valid, batch.n_sequences());
      });
  const Tensor z =
      ratio(part.n_tokens, whole.n_tokens) *
      mean_over_layers(result.routing, [&](const LayerRouting& layer) { return z_loss(layer.logits, result.valid); });
  if (options.balance_weight != 0.0) loss.total = loss.total + balance * options.balance_weight;
  if (options.z_weight != 0.0) loss.total = loss.total + z * options.z_weight;
  loss.balance = balance.detach();
  loss.z = z.detach();
  return loss;
}

}  // namespace moebox::train

// What a step minimises: next-token prediction, further tokens, and balance.
#pragma once

#include "train/model.h"

namespace moebox::train {

struct LossOptions {
  double further_weight = 0.1;      // of the layers that predict further tokens (DeepSeek-V3: 0.3, later 0.1)
  double balance_weight = 0.0;      // of the sequence-wise balance loss, the mean over layers
  double z_weight = 0.0;            // of the z-loss, the mean over layers
  std::int64_t chunk_tokens = 512;  // whose logits are held at once
};

/// What a step's sums are divided by. Losses and gradients of a batch's parts, each divided by the whole batch's
/// counts, add up to those of the whole batch, however it is cut.
struct BatchCounts {
  std::int64_t n_targets = 0;
  std::int64_t n_tokens = 0;     // without padding
  std::int64_t n_sequences = 0;  // that are not all padding
};
BatchCounts count(const Batch& batch);

struct Loss {
  Tensor total;  // a float32 scalar with a gradient
  // The parts, without a gradient and without their weights, divided by the whole batch's counts.
  Tensor cross_entropy;         // for each target
  std::vector<Tensor> further;  // of each layer that predicts a further token, for each target of the model itself
                                // (DeepSeek-V3, arXiv 2412.19437, equation 24)
  Tensor balance, z;            // 0 where there are no experts
};

/// `whole` are the counts of the batch that `batch` is a part of. Throws Error(invalid_argument) where no token of the
/// whole batch has a target; a part without one has no loss of prediction.
Loss compute_loss(const Model& model, const Batch& batch, const ForwardResult& result, const LossOptions& options,
                  const BatchCounts& whole);
/// Of a whole batch.
inline Loss compute_loss(const Model& model, const Batch& batch, const ForwardResult& result,
                         const LossOptions& options) {
  return compute_loss(model, batch, result, options, count(batch));
}

/// The targets of a layer that predicts `distance` tokens further than the model itself: at each place the target that
/// stands `distance` places on in the same document. (batch, length)
Tensor further_targets(const Batch& batch, std::int64_t distance);

}  // namespace moebox::train

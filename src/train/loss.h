// What a step minimises: next-token prediction, further tokens, and balance.
#pragma once

#include "train/model.h"

namespace moebox::train {

struct LossOptions {
  double further_weight =
      0.1;  // of the mean loss of the layers that predict further tokens (DeepSeek-V3: 0.3, later 0.1)
  double balance_weight = 0.0;      // of the sequence-wise balance loss, the mean over layers
  double z_weight = 0.0;            // of the z-loss, the mean over layers
  std::int64_t chunk_tokens = 512;  // whose logits are held at once
};

struct Loss {
  Tensor total;                 // a float32 scalar with a gradient
  Tensor cross_entropy;         // mean over tokens with a target; the others likewise, without a gradient
  std::vector<Tensor> further;  // of each layer that predicts a further token
  Tensor balance, z;            // unweighted; undefined where there are no experts
  std::int64_t n_targets = 0;
};

/// `n_targets` is what sums over tokens are divided by: the targets of all batches whose gradients are added up to one
/// step; 0: this batch's. The parts that are means already (balance, z) are weighted by this batch's share of them.
/// Throws Error(invalid_argument) where no token has a target.
Loss compute_loss(const Model& model, const Batch& batch, const ForwardResult& result, const LossOptions& options,
                  std::int64_t n_targets = 0);

/// The targets of a layer that predicts `distance` tokens further than the model itself: at each place the target that
/// stands `distance` places on in the same document. (batch, length)
Tensor further_targets(const Batch& batch, std::int64_t distance);

}  // namespace moebox::train

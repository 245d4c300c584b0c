// Ranks that compute every layer of the same sequences together, each some of its heads and inner rows (tensor
// parallelism, Shoeybi et al. 2019, arXiv 1909.08053). What one rank adds to a loss is its share of it, and so is every
// gradient behind it: those of all ranks added up are the model's.
#pragma once

#include <string_view>

#include "train/model.h"

namespace moebox::train {

/// This rank's rows of n: of each of so many equal blocks that lie one behind the other along `dimension` (gate and up
/// are two) the rank's part. All of it where `ranks` is nothing or one; undefined stays undefined.
Tensor share_of(const Tensor& whole, std::int64_t dimension, const World* ranks, std::int64_t n_blocks = 1);
inline std::int64_t share_of(std::int64_t n, const World* ranks) { return ranks == nullptr ? n : n / ranks->size(); }

/// The shares of all ranks added up in float32, in x's type: the same bits in each. Its gradients are added up, too.
/// Every rank calls it, and has its gradient computed.
Tensor add_up_shares(const Tensor& x, World* ranks);

/// Throws Error(invalid_argument) where so many of `what` cannot be shared out evenly.
void check_shares(const ModelOptions& options, int n, std::string_view what);

/// The part of a batch whose targets this rank answers for; the tokens are all there.
Batch with_own_targets(const Batch& batch, const World& ranks);

}  // namespace moebox::train

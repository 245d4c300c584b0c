// Experts that several ranks hold together (expert parallelism): tokens go to where their experts are, and come back.
#pragma once

#include "train/world.h"

namespace moebox::train {

/// experts() with gate_up and down of this rank's experts alone: `ids` are the experts' places, of which rank r has
/// those from r * n on.
/// Every rank calls it for its own tokens, however few, and has its gradient computed.
Tensor experts_of_ranks(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up,
                        const Tensor& down, World& ranks);

}  // namespace moebox::train

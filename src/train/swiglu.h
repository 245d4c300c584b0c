// The gated activation of feed-forward networks (Shazeer 2020).
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// silu(gate) * up of both (n, 2 * width), gate first: (n, width).
Tensor swiglu(const Tensor& gate_and_up);

}  // namespace moebox::train

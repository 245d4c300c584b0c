// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of a layer only what goes in is kept, and the rest is
// computed again in the backward pass: memory for time.
#pragma once

#include <functional>

#include "train/pass.h"

namespace moebox::train {

/// A layer: rows (n_tokens, hidden_size) float32 in and out. What it calls must outlive the backward pass.
using LayerFunction = std::function<Tensor(const Tensor& x, Pass& pass)>;

/// layer(x, pass); where the pass asks for it, and there is a gradient, what the layer needs for it is computed again.
/// The bits of result and gradients are the same, and gates do not choose again.
Tensor run_layer(const LayerFunction& layer, const Tensor& x, Pass& pass);

}  // namespace moebox::train

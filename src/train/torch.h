// What the trainer uses of LibTorch: tensors, their operators and gradients; no modules, no optimisers. Compiled once,
// as the precompiled header of whatever includes it: a source that includes more of LibTorch takes many times as long.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace moebox::train {

using at::Tensor;

}  // namespace moebox::train

// Upcycling (Komatsuzaki et al. 2022, arXiv 2212.05055): a dense model becomes one with experts, each of them the dense
// model's feed-forward layer or a piece of it.
#pragma once

#include <memory>

#include "train/model.h"
#include "train/upcycle_options.h"

namespace moebox::train {

/// Llama and Mistral become Mixtral, Qwen2 Qwen2-MoE (where a shared expert, too, is the whole layer, and counts half),
/// Qwen3 Qwen3-MoE. Whole copies without noise give the dense model's numbers; pieces are scaled so that they give them
/// in the mean over all choices. Throws Error(unsupported) for other architectures, and Error(invalid_argument) for
/// numbers that do not fit.
std::unique_ptr<Model> upcycle(const Model& dense, const UpcycleOptions& options, const ModelOptions& model_options);

}  // namespace moebox::train

// Models of the DeepSeek family in training: latent attention, leading dense layers, shared and routed experts, layers
// that predict further tokens.
#pragma once

#include <memory>

#include "train/model.h"

namespace moebox::train {

std::unique_ptr<Model> make_deepseek(const Checkpoint& checkpoint, const ModelOptions& options);

}  // namespace moebox::train

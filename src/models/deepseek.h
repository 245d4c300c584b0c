// The forward of the DeepSeek family: see spec/deepseek.h.
#pragma once

#include <memory>

#include "models/model.h"

namespace moebox {

struct WeightTask;

/// Everything but weight_bytes, which packing decides.
ModelInfo describe_deepseek(const Checkpoint& checkpoint, const ModelOptions& options);
/// Does with the weights what the task says (models/weights.h).
std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint, const WeightTask& task,
                                           const ModelOptions& options);

}  // namespace moebox

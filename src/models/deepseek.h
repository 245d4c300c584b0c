// The forward of the DeepSeek family: see spec/deepseek.h.
#pragma once

#include <memory>

#include "models/model.h"

namespace moebox {

/// Everything but weight_bytes, which packing decides.
ModelInfo describe_deepseek(const Checkpoint& checkpoint, const ModelOptions& options);
/// Without a team nothing is packed: plan_model().
std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint, ThreadTeam* team, const ModelOptions& options);

}  // namespace moebox

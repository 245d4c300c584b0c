// The forward of decoders of the Llama kind, dense ones and those with experts (Llama, SmolLM2, Mixtral, Qwen2, Qwen3,
// OLMoE): see spec/llama.h.
#pragma once

#include <memory>

#include "models/model.h"
#include "spec/llama.h"

namespace moebox {

struct WeightTask;

/// Everything but weight_bytes, which packing decides.
ModelInfo llama_info(const LlamaSpec& spec, const Checkpoint& checkpoint, const ModelOptions& options);
/// Does with the weights what the task says (models/weights.h).
std::unique_ptr<const Model> make_llama(const LlamaSpec& spec, const Checkpoint& checkpoint, const WeightTask& task,
                                        const ModelOptions& options);

}  // namespace moebox

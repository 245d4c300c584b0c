// Models of the Llama kind in training: grouped-query attention, with a gated network or experts.
#pragma once

#include <memory>

#include "spec/llama.h"
#include "train/model.h"

namespace moebox::train {

/// `hf_class` is what config.json is to call the architecture.
std::unique_ptr<Model> make_llama(const LlamaSpec& spec, std::string_view hf_class, const Checkpoint& checkpoint,
                                  const ModelOptions& options);

}  // namespace moebox::train

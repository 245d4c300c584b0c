// Which file of this folder trains an architecture: the only place that asks.
#include "spec/architecture.h"
#include "train/deepseek.h"
#include "train/llama.h"
#include "train/model.h"

namespace moebox::train {

std::unique_ptr<Model> make_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  const Architecture& architecture = architecture_of(checkpoint);
  return architecture.read_llama_kind != nullptr
             ? make_llama(architecture.read_llama_kind(checkpoint), architecture.hf_class, checkpoint, options)
             : make_deepseek(checkpoint, options);
}

}  // namespace moebox::train

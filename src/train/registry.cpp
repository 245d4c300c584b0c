// Which file of this folder trains an architecture: the only place that asks.
#include <string_view>

#include "base/error.h"
#include "spec/architecture.h"
#include "train/deepseek.h"
#include "train/llama.h"
#include "train/model.h"

namespace moebox::train {

std::unique_ptr<Model> make_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  try {
    const Architecture& architecture = architecture_of(checkpoint);
    return architecture.read_llama_kind != nullptr
               ? make_llama(architecture.read_llama_kind(checkpoint), architecture.hf_class, checkpoint, options)
               : make_deepseek(checkpoint, options);
  } catch (const Error& error) {
    // spec knows no paths; the file may have any name.
    constexpr std::string_view file = "config.json";
    if (!error.where().starts_with(file)) throw;
    const bool is_file = checkpoint.tensors().empty();
    const auto path = is_file ? checkpoint.path() : checkpoint.path() / file;
    throw Error(error.kind(), error.message(), path.string() + error.where().substr(file.size()), error.hint());
  }
}

}  // namespace moebox::train

// Who loads a checkpoint, or packs it.
#include <string>

#include "base/error.h"
#include "io/checkpoint.h"
#include "models/deepseek.h"
#include "models/llama.h"
#include "models/model.h"
#include "models/weights.h"
#include "spec/architecture.h"

namespace moebox {
namespace {

void check_draft_layer(const Architecture& architecture, const ModelOptions& options) {
  if (options.draft_layer && architecture.read_llama_kind != nullptr)
    throw Error(ErrorKind::unsupported,
                "models of the architecture " + std::string(architecture.gguf_name) +
                    " have no layer that predicts further tokens",
                "speculation", "start it without: --speculation ngram, or off");
}

std::unique_ptr<const Model> make_model(const Checkpoint& checkpoint, const WeightTask& task,
                                        const ModelOptions& options) {
  check_draft_layer(architecture_of(checkpoint), options);
  const auto read = architecture_of(checkpoint).read_llama_kind;
  return read != nullptr ? make_llama(read(checkpoint), checkpoint, task, options)
                         : load_deepseek(checkpoint, task, options);
}

}  // namespace

ModelInfo describe_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  check_draft_layer(architecture_of(checkpoint), options);
  const auto read = architecture_of(checkpoint).read_llama_kind;
  return read != nullptr ? llama_info(read(checkpoint), checkpoint, options) : describe_deepseek(checkpoint, options);
}

std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options) {
  return make_model(checkpoint, {.team = &team}, options);
}

std::unique_ptr<const Model> plan_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  return make_model(checkpoint, {}, options);
}

PackFileState pack_file_state(const Checkpoint& checkpoint, const ModelOptions& options) {
  PackFileState state;
  make_model(checkpoint, {.state = &state}, options);
  return state;
}

PackFileState write_pack_file(const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options,
                              const PackWriteOptions& write) {
  PackFileState state;
  make_model(checkpoint, {&team, &write, &state}, options);
  return state;
}

}  // namespace moebox

// Who loads a checkpoint.
#include "io/checkpoint.h"
#include "models/deepseek.h"
#include "models/llama.h"
#include "models/model.h"
#include "spec/architecture.h"

namespace moebox {
namespace {

/// `team` nullptr: a plan.
std::unique_ptr<const Model> make_model(const Checkpoint& checkpoint, ThreadTeam* team, const ModelOptions& options) {
  const auto read = architecture_of(checkpoint).read_llama_kind;
  return read != nullptr ? make_llama(read(checkpoint), checkpoint, team, options)
                         : load_deepseek(checkpoint, team, options);
}

}  // namespace

ModelInfo describe_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  const auto read = architecture_of(checkpoint).read_llama_kind;
  return read != nullptr ? llama_info(read(checkpoint), checkpoint, options) : describe_deepseek(checkpoint, options);
}

std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options) {
  return make_model(checkpoint, &team, options);
}

std::unique_ptr<const Model> plan_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  return make_model(checkpoint, nullptr, options);
}

}  // namespace moebox

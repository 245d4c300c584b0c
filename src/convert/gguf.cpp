// From GGUF to GGUF: everything is copied but the tensors' types. Architectures that moebox cannot run are no obstacle.
#include "base/error.h"
#include "convert/plan.h"

namespace moebox {
namespace {

int count_at(const Checkpoint& checkpoint, const std::string& key, int fallback) {
  const MetadataValue* value = checkpoint.find(key);
  if (value == nullptr || std::holds_alternative<std::vector<std::int64_t>>(*value)) return fallback;  // one a layer
  const std::int64_t number = checkpoint.integer(key);
  if (number < 0 || number > (1 << 20))
    throw Error(ErrorKind::invalid_file, "out of range: " + std::to_string(number), key);
  return static_cast<int>(number);
}

}  // namespace

ConversionPlan plan_gguf(const Checkpoint& checkpoint) {
  ConversionPlan plan;
  for (const GgufPair& pair : checkpoint.encoded_metadata()) {
    // What is said of the file that is read: how it is split and padded.
    if (pair.key.starts_with("split.") || pair.key == "general.alignment") continue;
    plan.header.set_encoded(pair.key, pair.value);
  }
  const std::string architecture = checkpoint.string("general.architecture");
  plan.shape.architecture = architecture;
  plan.shape.n_layers = count_at(checkpoint, architecture + ".block_count", 0);
  plan.shape.n_heads = count_at(checkpoint, architecture + ".attention.head_count", 1);
  plan.shape.n_kv_heads = count_at(checkpoint, architecture + ".attention.head_count_kv", plan.shape.n_heads);
  plan.shape.n_experts = count_at(checkpoint, architecture + ".expert_count", 0);
  plan.tensors.reserve(checkpoint.tensors().size());
  for (const TensorView& view : checkpoint.tensors()) {
    PlannedTensor tensor;
    tensor.name = view.name;
    tensor.shape.assign(view.shape.begin(), view.shape.begin() + view.rank);
    tensor.source.parts.push_back({view, nullptr});
    plan.tensors.push_back(std::move(tensor));
  }
  return plan;
}

}  // namespace moebox

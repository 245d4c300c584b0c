// Which architecture a checkpoint is, and who loads it: one line each.
#include <algorithm>
#include <iterator>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/checkpoint.h"
#include "models/deepseek.h"
#include "models/llama.h"
#include "models/model.h"

namespace moebox {
namespace {

struct Architecture {
  std::string_view gguf_name;  // general.architecture
  std::string_view hf_class;   // config.json: architectures[0]
  ModelInfo (*describe)(const Checkpoint&, const ModelOptions&);
  std::unique_ptr<const Model> (*load)(const Checkpoint&, ThreadTeam*, const ModelOptions&);
};

template <LlamaSpec (*read)(const Checkpoint&)>
constexpr Architecture llama_kind(std::string_view gguf_name, std::string_view hf_class) {
  return {gguf_name, hf_class, [](const Checkpoint& c, const ModelOptions& o) { return llama_info(read(c), c, o); },
          [](const Checkpoint& c, ThreadTeam* t, const ModelOptions& o) { return make_llama(read(c), c, t, o); }};
}

constexpr Architecture known[] = {
    llama_kind<read_llama>("llama", "LlamaForCausalLM"),
    llama_kind<read_mixtral>("", "MixtralForCausalLM"),  // GGUF calls it "llama"
    llama_kind<read_qwen2>("qwen2", "Qwen2ForCausalLM"),
    llama_kind<read_qwen3>("qwen3", "Qwen3ForCausalLM"),
    llama_kind<read_qwen2moe>("qwen2moe", "Qwen2MoeForCausalLM"),
    llama_kind<read_qwen3moe>("qwen3moe", "Qwen3MoeForCausalLM"),
    llama_kind<read_olmoe>("olmoe", "OlmoeForCausalLM"),
    {"deepseek2", "DeepseekV2ForCausalLM", describe_deepseek, load_deepseek},
    {"deepseek2", "DeepseekV3ForCausalLM", describe_deepseek, load_deepseek},
};

std::string hf_class(const Checkpoint& checkpoint) {
  const auto& config = checkpoint.config();
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !found->front().is_string())
    throw Error(ErrorKind::invalid_file, "expected \"architectures\" with the name of the model's class",
                "config.json");
  return found->front().get<std::string>();
}

const Architecture& architecture_of(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format() == Checkpoint::Format::gguf;
  const std::string name = gguf ? checkpoint.string("general.architecture") : hf_class(checkpoint);
  const auto found = std::find_if(std::begin(known), std::end(known), [&](const Architecture& entry) {
    return !name.empty() && (gguf ? entry.gguf_name : entry.hf_class) == name;
  });
  if (found != std::end(known)) return *found;
  std::string names, last;
  for (const Architecture& entry : known) {
    const std::string known_name(gguf ? entry.gguf_name : entry.hf_class);
    if (!known_name.empty() && known_name != last) names += (names.empty() ? "" : ", ") + known_name;
    last = known_name;
  }
  throw Error(ErrorKind::unsupported, "the architecture \"" + name + "\" is not implemented",
              checkpoint.path().string(), "known are " + names);
}

}  // namespace

ModelInfo describe_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  return architecture_of(checkpoint).describe(checkpoint, options);
}

std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options) {
  return architecture_of(checkpoint).load(checkpoint, &team, options);
}

std::unique_ptr<const Model> plan_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  return architecture_of(checkpoint).load(checkpoint, nullptr, options);
}

}  // namespace moebox

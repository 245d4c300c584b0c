#include "spec/architecture.h"

#include <algorithm>
#include <iterator>
#include <string>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebox {
namespace {

// Of entries with one GGUF name, the first reads a GGUF file.
constexpr Architecture known[] = {
    {"llama", "LlamaForCausalLM", read_llama},          {"llama", "MixtralForCausalLM", read_mixtral},
    {"qwen2", "Qwen2ForCausalLM", read_qwen2},          {"qwen3", "Qwen3ForCausalLM", read_qwen3},
    {"qwen2moe", "Qwen2MoeForCausalLM", read_qwen2moe}, {"qwen3moe", "Qwen3MoeForCausalLM", read_qwen3moe},
    {"olmoe", "OlmoeForCausalLM", read_olmoe},          {"deepseek2", "DeepseekV2ForCausalLM", nullptr},
    {"deepseek2", "DeepseekV3ForCausalLM", nullptr},
};

std::string hf_class(const Checkpoint& checkpoint) {
  const auto& config = checkpoint.config();
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !found->front().is_string())
    throw Error(ErrorKind::invalid_file, "expected \"architectures\" with the name of the model's class",
                "config.json");
  return found->front().get<std::string>();
}

}  // namespace

const Architecture& architecture_of(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format() == Checkpoint::Format::gguf;
  const std::string name = gguf ? checkpoint.string("general.architecture") : hf_class(checkpoint);
  const auto found = std::find_if(std::begin(known), std::end(known), [&](const Architecture& entry) {
    return (gguf ? entry.gguf_name : entry.hf_class) == name;
  });
  if (found != std::end(known)) return *found;
  std::string names, last;
  for (const Architecture& entry : known) {
    const std::string known_name(gguf ? entry.gguf_name : entry.hf_class);
    if (known_name != last) names += (names.empty() ? "" : ", ") + known_name;
    last = known_name;
  }
  throw Error(ErrorKind::unsupported, "the architecture \"" + name + "\" is not implemented",
              checkpoint.path().string(), "known are " + names);
}

}  // namespace moebox

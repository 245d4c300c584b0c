// Which architectures there are, by their names in both formats: one line each.
#pragma once

#include <string_view>

#include "io/checkpoint.h"
#include "spec/llama.h"

namespace moebox {

struct Architecture {
  std::string_view gguf_name;  // general.architecture; what a converted file says
  std::string_view hf_class;   // config.json: architectures[0]
  /// Reads what is of the Llama kind; nullptr: the DeepSeek family (spec/deepseek.h).
  LlamaSpec (*read_llama_kind)(const Checkpoint&);
};

/// The checkpoint's architecture. Throws Error(unsupported) with the known names for another one.
const Architecture& architecture_of(const Checkpoint& checkpoint);

}  // namespace moebox

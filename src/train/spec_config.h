// A spec as config.json: what spec's readers understand as the same sizes again, and transformers as the same model.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "spec/deepseek.h"
#include "spec/llama.h"

namespace moebox::train {

/// Of DeepseekV3ForCausalLM where the gate has a correction bias, else of DeepseekV2ForCausalLM. `n_further_layers`
/// layers that predict further tokens are in the files. Throws Error(unsupported) for what config.json cannot say.
nlohmann::json deepseek_config(const DeepseekSpec& spec, int n_further_layers);
/// Of the class `hf_class`.
nlohmann::json llama_config(const LlamaSpec& spec, std::string_view hf_class);

}  // namespace moebox::train

// Experts in place of a decoder's feed-forward, where an architecture of the Llama kind has them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"
#include "routing/gate.h"
#include "spec/tensor_table.h"

namespace moebox {

/// Names of the tensors in a Hugging Face folder.
struct ExpertNames {
  std::string_view router = "model.layers.{}.mlp.gate.weight";
  std::string_view gate = "model.layers.{}.mlp.experts.{expert}.gate_proj.weight";
  std::string_view up = "model.layers.{}.mlp.experts.{expert}.up_proj.weight";
  std::string_view down = "model.layers.{}.mlp.experts.{expert}.down_proj.weight";
};

struct ExpertsSpec {
  GateSpec gate;                     // n_experts 0: a dense model
  int intermediate_size = 0;         // of one expert
  int shared_intermediate_size = 0;  // of the expert that every token takes; 0: none
  bool shared_gate = false;          // that expert's output is scaled by a sigmoid
  std::vector<bool> layers;          // which layers have experts
  ExpertNames names;

  bool in_layer(int layer) const { return !layers.empty() && layers[static_cast<std::size_t>(layer)]; }
  int n_layers() const;
};

/// From GGUF's `<architecture>.expert_*`; layers are those that have a router. `normalize` is the architecture's own
/// rule, which files do not state. None where expert_count is 0.
ExpertsSpec read_gguf_experts(const Checkpoint& checkpoint, const std::string& architecture, int n_layers,
                              int intermediate_size, bool normalize);
/// The shared fields of config.json. The number of experts is "num_experts" or "num_local_experts": transformers has
/// written both for one architecture.
ExpertsSpec read_hf_experts(const Checkpoint& checkpoint, int n_layers, int intermediate_size, bool normalize);

/// The tensors' rules; hidden_size is the model's.
std::vector<TensorRule> expert_tensors(const ExpertsSpec& spec, int hidden_size, Checkpoint::Format format);

}  // namespace moebox

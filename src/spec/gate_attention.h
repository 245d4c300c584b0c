// The tensors and the numbers of an attention-fed gate (docs/routing.md), which are the same for every architecture.
#pragma once

#include <vector>

#include "routing/gate.h"
#include "spec/config_reader.h"
#include "spec/gguf_reader.h"
#include "spec/tensor_table.h"

namespace moebox {

/// From config.json's `gate_attention`; none where it is missing. Throws Error that names the field.
GateAttentionSpec read_hf_gate_attention(const ConfigReader& config);
/// From `<architecture>.expert_gating_attention.*`; none where they are missing. Throws Error that names the key.
GateAttentionSpec read_gguf_gate_attention(const GgufReader& read);

/// Columns of the router's matrix: what the attention computes, or the token's row.
int router_columns(const GateSpec& spec, int hidden_size);
/// The rules "router_q", "router_k" and "router_v", each (n_heads * head_dim, hidden_size).
std::vector<TensorRule> gate_attention_tensors(const GateSpec& spec, int hidden_size);

}  // namespace moebox

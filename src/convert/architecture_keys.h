// Sets "<architecture>.<name>" in a GGUF header, and what every decoder's spec states under the same names.
#pragma once

#include <string>
#include <string_view>

#include "io/gguf_writer.h"
#include "routing/gate.h"

namespace moebox {

class ArchitectureKeys {
 public:
  ArchitectureKeys(GgufHeader& header, std::string_view architecture)
      : header_(header), prefix_(std::string(architecture) + ".") {}

  void set_count(const char* name, int value) { header_.set_u32(prefix_ + name, static_cast<std::uint32_t>(value)); }
  void set_number(const char* name, float value) { header_.set_f32(prefix_ + name, value); }
  void set_flag(const char* name, bool value) { header_.set_bool(prefix_ + name, value); }

  void set_gate_attention(const GateAttentionSpec& spec) {
    if (spec.n_heads == 0) return;
    set_count("expert_gating_attention.head_count", spec.n_heads);
    set_count("expert_gating_attention.key_length", spec.head_dim);
  }

  template <class DecoderSpec>
  void set_decoder(const DecoderSpec& spec) {
    set_count("block_count", spec.n_layers);
    set_count("context_length", spec.max_context);
    set_count("embedding_length", spec.hidden_size);
    set_count("feed_forward_length", spec.intermediate_size);
    set_count("vocab_size", spec.vocab_size);
    set_number("attention.layer_norm_rms_epsilon", spec.rms_epsilon);
  }

 private:
  GgufHeader& header_;
  const std::string prefix_;
};

}  // namespace moebox

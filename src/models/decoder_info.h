// The part of a ModelInfo that every decoder's spec states under the same names.
#pragma once

#include "models/model.h"

namespace moebox {

template <class DecoderSpec>
ModelInfo decoder_info(const DecoderSpec& spec, const ModelOptions& options) {
  ModelInfo info;
  info.architecture = spec.architecture;
  info.vocab_size = spec.vocab_size;
  info.max_context = spec.max_context;
  info.n_layers = spec.n_layers;
  info.hidden_size = spec.hidden_size;
  info.kv.type = options.kv_type;
  return info;
}

}  // namespace moebox

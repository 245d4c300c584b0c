// The three ways to a tokenizer. Each checks everything that it reads; each throws Error.
#pragma once

#include <memory>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace moebox {

std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const Checkpoint& checkpoint);
std::shared_ptr<const Tokenizer> load_json_tokenizer(std::string_view tokenizer_json,
                                                     std::string_view tokenizer_config_json, std::vector<TokenId> ends);
std::shared_ptr<const Tokenizer> load_sentencepiece_tokenizer(std::string_view model_proto, std::vector<TokenId> ends);

}  // namespace moebox

// Which of GGUF's named pre-tokenizers (named_pre_tokenizer.h) a tokenizer.json has.
#pragma once

#include <optional>
#include <string_view>

#include "tokenizer/tokenizer_json.h"

namespace moebox {

/// The name of the pre-tokenizer that cuts texts as this one does, with its normaliser and its treatment of whole
/// words, found by comparing what they make of texts that tell all of them apart; nothing when there is none. For
/// byte-level BPE. Throws Error as the tokenizer's loader does.
std::optional<std::string_view> gguf_pre_tokenizer(const TokenizerJson& tokenizer);

}  // namespace moebox

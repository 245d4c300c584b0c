// Fill in the middle: text before and after a gap -> the ids that ask a model for what belongs in it.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

/// True when the model has the tokens for it.
bool can_fill_in(const Tokenizer& tokenizer);

/// [bos, where the tokenizer adds one] prefix-token `before` suffix-token `after` middle-token, the order that models
/// are trained with by default (Bavarian et al., "Efficient Training of Language Models to Fill in the Middle", 2022,
/// PSM). Nothing in the texts becomes a control token. Throws Error(unsupported) when the model has no such tokens.
std::vector<TokenId> fill_in_prompt(const Tokenizer& tokenizer, std::string_view before, std::string_view after);

}  // namespace moebox

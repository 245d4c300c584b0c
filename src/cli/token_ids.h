// Token ids as a person or a program writes them.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox::cli {

/// "1, 2 3" or "[1, 2, 3]": integers between blanks, commas and brackets. Throws Error(invalid_argument) with the place
/// of anything else, of a comma without an id on both sides, and of an id outside [0, vocab_size).
std::vector<TokenId> parse_token_ids(std::string_view text, int vocab_size);

}  // namespace moebox::cli

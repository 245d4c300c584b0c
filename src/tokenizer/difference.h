// Whether two tokenizers mean the same by their ids.
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace moebox {

/// The first thing by which ids of `other` mean something else than those of `tokenizer`, in words; empty: nothing.
/// Compared are tokens, special ids and size; unused tokens at the end, with which vocabularies are padded, do not
/// count.
std::string tokenizer_difference(const Tokenizer& tokenizer, const Tokenizer& other);

}  // namespace moebox

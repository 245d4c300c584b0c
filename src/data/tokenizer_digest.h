// By what shards know their tokenizer.
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace moebox::data {

/// BLAKE2b of what ids mean and of how text is cut: every token's bytes (control tokens by their name), without unused
/// tokens at the end, with which vocabularies are padded; and the ids of a fixed text in several scripts. The same for
/// a tokenizer.json and for the GGUF that was made of it.
std::string tokenizer_digest(const Tokenizer& tokenizer);

/// The size of its vocabulary without those unused tokens.
int used_vocabulary(const Tokenizer& tokenizer);

}  // namespace moebox::data

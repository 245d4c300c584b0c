// What a GGUF file says of a unigram model that a tokenizer.json describes: SentencePiece's rules for a text, in place
// of Hugging Face's chain of normalisers and pre-tokenizers.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace moebox {

struct UnigramMetadata {
  std::vector<float> scores;  // by id
  bool add_space_prefix = false;
  bool remove_extra_whitespaces = false;
  std::string character_map;  // precompiled; may be empty
};

/// The rules with which a GGUF's reader gives the ids that `tokenizer`, made of `file`, gives: found by comparing what
/// they make of texts that tell them apart. Throws Error(unsupported) when there are none, Error(invalid_file) for a
/// score that a float does not hold.
UnigramMetadata unigram_metadata(const TokenizerJson& file, const Tokenizer& tokenizer);

}  // namespace moebox

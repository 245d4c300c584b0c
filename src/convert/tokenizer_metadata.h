// What a GGUF file says of the tokenizer and the chat template, from the files of a Hugging Face folder.
#pragma once

#include <cstdint>

#include "io/checkpoint.h"
#include "io/gguf_writer.h"

namespace moebox {

/// Sets tokenizer.*; a vocabulary smaller than the embedding, which has `n_rows` rows, is filled up with unused tokens.
/// Returns false, and says so in the file ("no_vocab"), when the folder has no tokenizer. Throws Error(unsupported) for
/// a tokenizer that GGUF has no name for, Error(invalid_file) for one that is larger than the embedding.
bool set_tokenizer(GgufHeader& header, const Checkpoint& checkpoint, std::int64_t n_rows);

}  // namespace moebox

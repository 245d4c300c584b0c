// The unigram language model: the most probable way to cut a text into pieces.
// Source: Kudo 2018 (arXiv 1804.10959).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "tokenizer/token_model.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

struct UnigramOptions {
  std::size_t pieces = 0;  // ids below this belong to the model; the others are added tokens
  std::optional<TokenId>
      unknown;  // a text with an unknown character and no unknown token is an Error(invalid_file) at load
  bool byte_fallback = false;     // unknown characters become the tokens <0x00> .. <0xFF>
  bool single_precision = false;  // sums as SentencePiece makes them (float), else as Hugging Face does (double)
};

/// `scores` by id, one for each id of the vocabulary. Of equal sums the first found counts, as in both references.
/// Throws Error(invalid_file) for scores that are not finite, or when unknown characters would have no token.
std::unique_ptr<TokenModel> make_unigram_model(const Vocabulary& vocabulary, const std::vector<double>& scores,
                                               const UnigramOptions& options);

}  // namespace moebox

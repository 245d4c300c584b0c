// SentencePiece's BPE: merges are not listed, two neighbours merge when their text is a piece, the best score first.
// Source: Kudo and Richardson 2018 (arXiv 1808.06226) and the behaviour of the sentencepiece library.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tokenizer/token_model.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

/// `scores` by id. Characters that are no piece become the 256 byte tokens, where the vocabulary has them, else
/// `unknown`. Throws Error(invalid_file) for another number of scores, scores that are not finite, or when unknown
/// characters would have no token.
std::unique_ptr<TokenModel> make_sentencepiece_bpe(const Vocabulary& vocabulary, std::vector<float> scores,
                                                   std::optional<TokenId> unknown);

}  // namespace moebox

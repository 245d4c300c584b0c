// What a .model file and a GGUF both say about a SentencePiece model, and the tokenizer made of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/pipeline.h"

namespace moebox {

struct SentencePieceParts {
  std::vector<Vocabulary::Token> tokens;
  std::vector<float> scores;  // by id
  bool unigram = false;       // else BPE
  std::string character_map;  // precompiled; may be empty
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::string unknown_surface = " \xE2\x81\x87 ";
  std::vector<TokenId> before, after;
  Tokenizer::Special special;
};

/// Reads a .model file's bytes. Throws Error.
SentencePieceParts read_sentencepiece_model(std::string_view model_proto);

std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(SentencePieceParts parts, std::string_view where);

}  // namespace moebox

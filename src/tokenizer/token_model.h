// What turns a piece of plain text into ids: BPE, SentencePiece's BPE, unigram.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

class TokenModel {
 public:
  /// Working memory of one call of Tokenizer::encode.
  class Scratch {
   public:
    virtual ~Scratch() = default;
  };

  virtual ~TokenModel() = default;
  /// `text_bytes` is about how much will be encoded.
  virtual std::unique_ptr<Scratch> make_scratch(std::size_t text_bytes) const = 0;
  /// Appends the ids of `piece` (valid UTF-8) to `ids`. Pieces must stay in memory, and `ids` may only grow, for as
  /// long as `scratch` is used: it refers to both. Never gives a control token.
  virtual void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const = 0;
};

}  // namespace moebox

// Text to the tokens of a document: what the model's tokenizer puts around a text, and the token that ends it.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox::data {

/// Which token ends a document: the tokenizer's own end of text; "none"; or a token by its text.
std::optional<TokenId> find_end_token(const Tokenizer& tokenizer, std::string_view choice);

class TextEncoder {
 public:
  /// `end`: put behind every document; none where the tokenizer puts it there itself.
  TextEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::optional<TokenId> end)
      : tokenizer_(std::move(tokenizer)), end_(end) {}

  /// Special tokens written in the text are plain text. Safe to call from many threads.
  std::vector<TokenId> encode(std::string_view text) const;

  const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<TokenId> end_;
};

}  // namespace moebox::data

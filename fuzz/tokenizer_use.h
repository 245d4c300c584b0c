// What the fuzz targets of tokenizers do with a tokenizer that was accepted: texts in, ids out, and back.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace moebox {

inline void use_tokenizer(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view some_of_the_file) {
  for (const std::string_view text :
       {std::string_view("Hello 世界 <s>\xF0\x9F aab  \n12 <|im_end|>"), some_of_the_file.substr(0, 200)}) {
    for (const TokenId id : tokenizer->encode(text)) {
      if (tokenizer->token_kind(id) == TokenKind::control) __builtin_trap();  // a user's text made a control token
      if (id < 0 || id >= tokenizer->vocab_size()) __builtin_trap();
    }
    const auto ids = tokenizer->encode(text, true, true);
    StreamDecoder stream(tokenizer, true);
    std::string streamed;
    for (const TokenId id : ids) {
      const std::string part = stream.push(id);
      if (utf8::valid_prefix(part) != part.size()) __builtin_trap();  // half a character
      streamed += part;
    }
    streamed += stream.finish();
    if (streamed != tokenizer->decode(ids, true)) __builtin_trap();
  }
}

}  // namespace moebox

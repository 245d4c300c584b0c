#include "data/build/encode.h"

#include "base/error.h"
#include "io/quote.h"

namespace moebox::data {

std::optional<TokenId> find_end_token(const Tokenizer& tokenizer, std::string_view choice) {
  if (choice == "none") return std::nullopt;
  if (!choice.empty()) {
    if (const auto id = tokenizer.find(choice)) return id;
    throw Error(ErrorKind::invalid_argument, "the tokenizer has no token " + quote(choice), "end_token");
  }
  // What ends a text, before what ends an answer: a base model's documents are texts.
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>",
                           "<\xEF\xBD\x9C"
                           "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                           "</s>"})
    if (const auto id = tokenizer.find(name); id && tokenizer.token_kind(*id) == TokenKind::control) return id;
  if (tokenizer.special().eos) return tokenizer.special().eos;
  throw Error(ErrorKind::invalid_argument, "the tokenizer does not say which token ends a text", "end_token",
              "name one, or say none");
}

std::vector<TokenId> TextEncoder::encode(std::string_view text) const {
  std::vector<TokenId> ids = tokenizer_->encode(text, true);
  if (end_ && (ids.empty() || ids.back() != *end_)) ids.push_back(*end_);
  return ids;
}

}  // namespace moebox::data

#include "tokenizer/difference.h"

#include <algorithm>

#include "io/quote.h"

namespace moebox {
namespace {

/// Tokens without the padding at the end.
int used_size(const Tokenizer& tokenizer) {
  int size = tokenizer.vocab_size();
  while (size > 0 && tokenizer.token_kind(size - 1) == TokenKind::unused) --size;
  return size;
}

std::string id_text(const std::optional<TokenId>& id) { return id ? std::to_string(*id) : "none"; }

std::string ids_text(std::vector<TokenId> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::string text;
  for (const TokenId id : ids) text += (text.empty() ? "" : ", ") + std::to_string(id);
  return text.empty() ? "none" : text;
}

}  // namespace

std::string tokenizer_difference(const Tokenizer& tokenizer, const Tokenizer& other) {
  const int size = used_size(tokenizer), other_size = used_size(other);
  for (TokenId id = 0; id < std::min(size, other_size); ++id)
    if (tokenizer.token_text(id) != other.token_text(id))
      return "its token " + std::to_string(id) + " is " + quote(other.token_text(id)) + ", that of the model is " +
             quote(tokenizer.token_text(id));
  if (size != other_size)
    return "its vocabulary has " + std::to_string(other_size) + " tokens, that of the model has " +
           std::to_string(size);
  const auto differs = [](const char* what, const std::string& own, const std::string& others) {
    return own == others ? std::string()
                         : std::string("its token for ") + what + " is " + others + ", that of the model is " + own;
  };
  const Tokenizer::Special &a = tokenizer.special(), &b = other.special();
  std::string difference = differs("the beginning", id_text(a.bos), id_text(b.bos));
  if (difference.empty()) difference = differs("the end", id_text(a.eos), id_text(b.eos));
  if (difference.empty())
    difference = differs("the end of an answer", ids_text(a.end_of_generation), ids_text(b.end_of_generation));
  return difference;
}

}  // namespace moebox

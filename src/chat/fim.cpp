#include "chat/fim.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"

namespace moebox {

bool can_fill_in(const Tokenizer& tokenizer) {
  const auto& special = tokenizer.special();
  return special.fim_prefix && special.fim_suffix && special.fim_middle;
}

std::vector<TokenId> fill_in_prompt(const Tokenizer& tokenizer, std::string_view before, std::string_view after) {
  if (!can_fill_in(tokenizer)) {
    throw Error(ErrorKind::unsupported, "the model has no tokens to fill in the middle of a text", "suffix",
                "leave the suffix out, or use a model trained for it");
  }
  const auto& special = tokenizer.special();
  std::vector<TokenId> ids;
  const std::vector<TokenId> added = tokenizer.encode(std::string_view(), true);
  if (special.bos && !added.empty() && added.front() == *special.bos) ids.push_back(*special.bos);
  // As one text, so that what follows a marker is encoded as the tokenizer does after a control token.
  const auto marker = [&](TokenId id) { return TextSpan{tokenizer.token_text(id), true}; };
  const std::array spans = {marker(*special.fim_prefix), TextSpan{before, false}, marker(*special.fim_suffix),
                            TextSpan{after, false}, marker(*special.fim_middle)};
  const std::vector<TokenId> encoded = tokenizer.encode(spans, false);
  for (const TokenId id : {*special.fim_prefix, *special.fim_suffix, *special.fim_middle}) {
    if (std::count(encoded.begin(), encoded.end(), id) != 1) {
      throw Error(ErrorKind::unsupported, "the tokenizer does not find its own token to fill in the middle",
                  std::string(tokenizer.token_text(id)));
    }
  }
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  return ids;
}

}  // namespace moebox

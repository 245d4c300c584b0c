#include "chat/fim.h"

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
  const auto append = [&](TokenId marker, std::string_view text) {
    ids.push_back(marker);
    const std::vector<TokenId> more = tokenizer.encode(text);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  append(*special.fim_prefix, before);
  append(*special.fim_suffix, after);
  ids.push_back(*special.fim_middle);
  return ids;
}

}  // namespace moebox

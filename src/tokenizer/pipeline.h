// A tokenizer put together from parts: added tokens, normalizer, pre-tokenizer, model. The loaders make the parts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/token_model.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

struct PipelineParts {
  std::unique_ptr<const Vocabulary> vocabulary;
  std::vector<AddedToken> added_tokens;
  std::unique_ptr<Normalizer> normalizer;  // may be null
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  StringList bytes;                    // of each id; empty for control tokens
  bool drops_leading_space = false;    // decoding removes the space at the beginning
  std::vector<TokenId> before, after;  // what add_special adds
  Tokenizer::Special special;
};

/// Completes the added tokens (their normal forms) and the special ids, and makes the tokenizer.
std::shared_ptr<const Tokenizer> make_pipeline(PipelineParts parts);

/// Adds the well-known names of tokens that end an answer or fill in the middle, where they are control tokens.
void add_well_known(const Vocabulary& vocabulary, Tokenizer::Special& special);

/// Does an added token look like one that steers the model ("<|im_start|>", "<｜User｜>"), even if its file calls it
/// plain text?
bool looks_like_control(std::string_view content) noexcept;

/// Is this the name of an unknown token ("<unk>", "[UNK]")? A control token of another name that a file declares to be
/// the unknown token is not used as one: whoever writes a strange character would steer the model.
bool names_unknown(std::string_view text) noexcept;

/// The byte of a byte-fallback token "<0x0A>".
std::optional<unsigned char> fallback_byte(std::string_view text) noexcept;

}  // namespace moebox

// The components that tokenizer.json names: normalizers, pre-tokenizers, decoders, post-processors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

/// All throw Error(unsupported) for a component or an option that is not implemented, Error(invalid_file) for a
/// malformed one; the error's place is the path in the file.

/// Null for no normalizer.
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& spec);

struct JsonPreTokenizer {
  PreTokenizer pre_tokenizer;
  bool byte_level = false;  // pieces are bytes; the vocabulary spells them by GPT-2's byte map
};
JsonPreTokenizer make_pre_tokenizer(const nlohmann::json& spec);

/// How tokens become bytes, token by token.
class TokenSpelling {
 public:
  explicit TokenSpelling(const nlohmann::json& decoder);
  /// The bytes of a token of the model.
  std::string spell(std::string_view text) const;
  bool drops_leading_space() const noexcept { return drops_leading_space_; }

 private:
  struct Step {
    enum class Kind { byte_level, replace, byte_fallback, strip, prefix };
    Kind kind;
    std::string from{}, to{};
    std::size_t start = 0, stop = 0;
  };
  void add(const nlohmann::json& spec, const std::string& where, int depth);

  std::vector<Step> steps_;
  bool fused_ = false;
  bool drops_leading_space_ = false;
};

/// Ids that a post-processor puts before and after a text.
struct AddedSpecials {
  std::vector<TokenId> before, after;
};
AddedSpecials make_added_specials(const nlohmann::json& post_processor, const Vocabulary& vocabulary);

}  // namespace moebox

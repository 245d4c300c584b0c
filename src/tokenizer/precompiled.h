// SentencePiece's precompiled character map: a double-array trie of byte strings, each with the text that replaces it.
// Source: the layout of Darts-clone (Yata) and of SentencePiece's NormalizerSpec.precompiled_charsmap.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/normalizer.h"

namespace moebox {

class CharacterMap {
 public:
  /// Throws Error(invalid_file) when the sizes do not hold together. Links of the trie are checked when they are
  /// followed.
  CharacterMap(std::string_view blob, std::string_view where);

  struct Rule {
    std::size_t length;  // bytes of the text that it replaces
    std::string_view replacement;
  };
  /// The rule for the shortest or the longest prefix of `text`.
  std::optional<Rule> shortest(std::string_view text) const noexcept { return find(text, true); }
  std::optional<Rule> longest(std::string_view text) const noexcept { return find(text, false); }

 private:
  std::optional<Rule> find(std::string_view text, bool shortest) const noexcept;

  std::vector<std::uint32_t> units_;
  std::string replacements_;  // each ends with a NUL
};

/// Hugging Face's use of the map: by grapheme clusters shorter than six bytes, else by characters.
std::unique_ptr<Normalizer> precompiled_normalizer(std::string blob, std::string_view where);

/// Throws Error(invalid_file) for what is not base64.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace moebox

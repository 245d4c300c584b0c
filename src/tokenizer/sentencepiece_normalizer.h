// SentencePiece's own normalisation: character map, white space as U+2581, the space in front.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/precompiled.h"

namespace moebox {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

struct SentencePieceRules {
  std::optional<CharacterMap> map;
  PieceTrie user_defined;  // symbols that stay as they are
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
};

std::unique_ptr<Normalizer> sentencepiece_normalizer(SentencePieceRules rules);

}  // namespace moebox

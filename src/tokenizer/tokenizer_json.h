// Reading tokenizer.json: the vocabulary and the merges, which are long, apart from the rest. Knows JSON, not what it
// means.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/vocabulary.h"

namespace moebox {

struct TokenizerJson {
  nlohmann::json document;  // everything but model.vocab and model.merges
  StringList texts;         // model.vocab: of a BPE with its ids, of a unigram model with its scores
  std::vector<std::int64_t> ids;
  std::vector<double> scores;
  StringList merges;  // model.merges: left and right, one after the other
  bool has_vocabulary = false;
};

/// Parses without building a tree of the long lists. Throws Error(invalid_file) for what is not JSON, for a key that an
/// object has twice and for lists of another shape; Error(resource) beyond the limits on size, depth and number of
/// values.
TokenizerJson read_tokenizer_json(std::string_view text);

/// Parses a small JSON file under the same limits; `where` is its name.
nlohmann::json read_json(std::string_view text, std::string_view where);

}  // namespace moebox

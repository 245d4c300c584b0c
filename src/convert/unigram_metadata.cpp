#include "convert/unigram_metadata.h"

#include <cmath>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "tokenizer/precompiled.h"
#include "tokenizer/sentencepiece_parts.h"

namespace moebox {
namespace {

using nlohmann::json;

constexpr std::size_t max_probed_pieces = 64;

// Capitals, accents, scripts, what compatibility forms change, and blanks of all kinds. Without combining marks: there
// Hugging Face reads a character map in another way than SentencePiece does.
constexpr std::string_view unigram_probes[] = {
    "Hello, world! The QUICK brown fox, don't.",
    "12 345 3.14 x=y+z; f(a[0]) {b}",
    "na\u00efve caf\u00e9 \u00dcn\u00efc\u00f6d\u00e9 Stra\u00dfe",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440. \u0401\u0416\u0418\u041a",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u4eca\u65e5\u306f\u30c6\u30b9\u30c8",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\uff21\uff22\uff23 \uff11\uff12\uff13 \ufb01ne \u00bd \u2460 \u2122 \u2026 \u3300",
    "``quotes'' \"x\" \u201cy\u201d \u2018z\u2019",
    "\U0001f600 ok",
    "x\u00a0y\u3000z",
};

/// Texts with blanks before, behind and between pieces of the vocabulary, which any model of any language spells.
std::vector<std::string> probes_of(const TokenizerJson& file, const Tokenizer& tokenizer) {
  std::vector<std::string> probes(std::begin(unigram_probes), std::end(unigram_probes));
  std::vector<std::string> pieces;
  const std::size_t step = file.texts.size() / max_probed_pieces + 1;
  for (std::size_t i = 0; i < file.texts.size(); i += step) {
    const std::string text(file.texts[i]);
    if (tokenizer.token_kind(static_cast<TokenId>(i)) != TokenKind::normal || text.find("\u2581") != std::string::npos)
      continue;
    pieces.push_back(text);
  }
  pieces.insert(pieces.end(), {"a", "b"});
  for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
    const std::string &a = pieces[i], &b = pieces[i + 1];
    for (const std::string& text : {a, a + b, a + " " + b, a + "  " + b + "   " + a, " " + a, "   " + a, a + " ",
                                    a + "  ", a + "\t" + b, a + "\n" + b, a + " \n " + b})
      probes.push_back(text);
  }
  probes.insert(probes.end(), {" ", "   "});
  return probes;
}

std::string character_map(const json& normalizer) {
  if (!normalizer.is_object()) return {};
  const auto type = normalizer.value("type", json());
  if (type == "Precompiled") {
    const auto map = normalizer.find("precompiled_charsmap");
    const bool text = map != normalizer.end() && map->is_string();
    return text ? decode_base64(map->get_ref<const std::string&>(), "tokenizer.json: normalizer") : std::string();
  }
  const auto parts = normalizer.find("normalizers");
  if (parts == normalizer.end() || !parts->is_array()) return {};
  for (const json& part : *parts)
    if (std::string map = character_map(part); !map.empty()) return map;
  return {};
}

std::shared_ptr<const Tokenizer> as_in_gguf(const UnigramMetadata& metadata, const Tokenizer& tokenizer) {
  SentencePieceParts parts;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    parts.tokens.push_back({std::string(tokenizer.token_text(id)), tokenizer.token_kind(id)});
  parts.scores = metadata.scores;
  parts.unigram = true;
  parts.special.unknown = tokenizer.special().unknown;
  parts.character_map = metadata.character_map;
  parts.add_dummy_prefix = metadata.add_space_prefix;
  parts.remove_extra_whitespaces = metadata.remove_extra_whitespaces;
  return make_sentencepiece_tokenizer(std::move(parts), "tokenizer.json");
}

}  // namespace

UnigramMetadata unigram_metadata(const TokenizerJson& file, const Tokenizer& tokenizer) {
  UnigramMetadata metadata;
  for (const double score : file.scores) {
    if (!(std::abs(score) <= static_cast<double>(std::numeric_limits<float>::max())))
      throw Error(ErrorKind::invalid_file, "expected scores that a float holds, found " + std::to_string(score),
                  "tokenizer.json: model.vocab");
    metadata.scores.push_back(static_cast<float>(score));
  }
  metadata.scores.resize(static_cast<std::size_t>(tokenizer.vocab_size()));
  const auto normalizer = file.document.find("normalizer");
  if (normalizer != file.document.end()) metadata.character_map = character_map(*normalizer);

  const std::vector<std::string> probes = probes_of(file, tokenizer);
  std::vector<std::vector<TokenId>> wanted;
  for (const std::string& probe : probes) wanted.push_back(tokenizer.encode(probe));
  for (const bool prefix : {true, false}) {
    for (const bool remove : {true, false}) {
      metadata.add_space_prefix = prefix;
      metadata.remove_extra_whitespaces = remove;
      const auto candidate = as_in_gguf(metadata, tokenizer);
      std::size_t same = 0;
      while (same < probes.size() && candidate->encode(probes[same]) == wanted[same]) ++same;
      if (same == probes.size()) return metadata;
    }
  }
  throw Error(ErrorKind::unsupported,
              "GGUF has no way to say what this unigram model's normaliser and pre-tokenizer do to a text",
              "tokenizer.json: normalizer, pre_tokenizer",
              "put the model's tokenizer.model, if it has one, in the place of its tokenizer.json");
}

}  // namespace moebox

#include "convert/tokenizer_metadata.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/unigram_metadata.h"
#include "io/json_file.h"
#include "tokenizer/json_components.h"
#include "tokenizer/pre_tokenizer_name.h"
#include "tokenizer/sentencepiece_parts.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string prefix = "tokenizer.ggml.";

std::string file_text(const fs::path& path) {
  std::error_code none;
  const auto size = fs::file_size(path, none);
  if (none) return {};
  if (size > limits::kFileBytes) throw Error(ErrorKind::resource, "the file is too large", path.string());
  std::string text(static_cast<std::size_t>(size), '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(size)))
    throw Error(ErrorKind::io, "cannot be read", path.string());
  return text;
}

/// GGUF's numbers of the kinds of tokens.
std::int32_t type_number(TokenKind kind) {
  switch (kind) {
    case TokenKind::normal:
      return 1;
    case TokenKind::unknown:
      return 2;
    case TokenKind::control:
      return 3;
    case TokenKind::added:
      return 4;
    case TokenKind::unused:
      return 5;
    case TokenKind::byte:
      return 6;
  }
  return 1;
}

/// Tokens and their types, filled up to the rows of the embedding.
void set_tokens(GgufHeader& header, const Tokenizer& tokenizer, std::int64_t n_rows) {
  const int size = tokenizer.vocab_size();
  if (size > n_rows)
    throw Error(
        ErrorKind::invalid_file,
        "the tokenizer has " + std::to_string(size) + " tokens, and the embedding " + std::to_string(n_rows) + " rows",
        "tokenizer.json");
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  for (std::int64_t i = 0; i < n_rows; ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view text = i < size ? tokenizer.token_text(id) : std::string_view();
    const bool none = text.empty();  // readers want every token to have a text of its own
    tokens.push_back(none ? "[PAD" + std::to_string(i) + "]" : std::string(text));
    types.push_back(type_number(none ? TokenKind::unused : tokenizer.token_kind(id)));
  }
  header.set_strings(prefix + "tokens", tokens);
  header.set_i32s(prefix + "token_type", types);
}

void set_merges(GgufHeader& header, const TokenizerJson& file) {
  std::vector<std::string> merges;
  for (std::size_t i = 0; i + 1 < file.merges.size(); i += 2) {
    const std::string left(file.merges[i]), right(file.merges[i + 1]);
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
      throw Error(ErrorKind::unsupported, "GGUF has no way to say a merge of tokens with blanks in them",
                  "tokenizer.json: model.merges[" + std::to_string(i / 2) + "]");
    merges.push_back(left + " " + right);
  }
  header.set_strings(prefix + "merges", merges);
}

/// A SentencePiece BPE merges by the score of the result: the rank of the merge that makes a token, negated, says it.
std::vector<float> scores_of_merges(const TokenizerJson& file, const Tokenizer& tokenizer, std::int64_t n_rows) {
  std::unordered_map<std::string, float> rank;
  for (std::size_t i = 0; i + 1 < file.merges.size(); i += 2)
    rank.try_emplace(std::string(file.merges[i]) + std::string(file.merges[i + 1]), static_cast<float>(i / 2 + 1));
  const auto last = static_cast<float>(file.merges.size() / 2 + 1);
  std::vector<float> scores(static_cast<std::size_t>(n_rows));
  for (std::size_t id = 0; id < scores.size() && id < static_cast<std::size_t>(tokenizer.vocab_size()); ++id) {
    if (tokenizer.token_kind(static_cast<TokenId>(id)) != TokenKind::normal) continue;
    const auto found = rank.find(std::string(tokenizer.token_text(static_cast<TokenId>(id))));
    scores[id] = -(found == rank.end() ? last : found->second);
  }
  return scores;
}

void set_special(GgufHeader& header, const Tokenizer& tokenizer, const json& config, std::int64_t n_rows) {
  const Tokenizer::Special& special = tokenizer.special();
  const auto in_config = [&](const char* key) -> std::optional<TokenId> {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return std::nullopt;
    const json& first = found->is_array() && !found->empty() ? found->front() : *found;
    if (!first.is_number_unsigned() || first.get<std::uint64_t>() >= static_cast<std::uint64_t>(n_rows))
      return std::nullopt;
    return first.get<TokenId>();
  };
  const auto set = [&](const char* name, std::optional<TokenId> id) {
    if (id) header.set_u32(prefix + name, static_cast<std::uint32_t>(*id));
  };
  const auto bos = special.bos ? special.bos : in_config("bos_token_id");
  const auto eos = special.eos ? special.eos : in_config("eos_token_id");
  set("bos_token_id", bos);
  set("eos_token_id", eos);
  set("unknown_token_id", special.unknown);
  set("padding_token_id", special.padding);
  for (const TokenId end : special.end_of_generation) {
    if (end == eos) continue;
    set("eot_token_id", end);
    break;
  }
  set("fim_pre_token_id", special.fim_prefix);
  set("fim_suf_token_id", special.fim_suffix);
  set("fim_mid_token_id", special.fim_middle);
  const std::vector<TokenId> plain = tokenizer.encode("a", false), whole = tokenizer.encode("a", true);
  header.set_bool(prefix + "add_bos_token",
                  bos && !whole.empty() && whole.front() == *bos && whole.size() > plain.size());
  header.set_bool(prefix + "add_eos_token",
                  eos && !whole.empty() && whole.back() == *eos && (plain.empty() || plain.back() != *eos));
}

/// Jinja templates: "default" is the model's, others keep their names.
void set_templates(GgufHeader& header, const fs::path& folder) {
  if (const std::string text = file_text(folder / "chat_template.jinja"); !text.empty()) {
    header.set_string("tokenizer.chat_template", text);
    return;
  }
  if (!fs::exists(folder / "tokenizer_config.json")) return;
  const json config = read_json_file(folder / "tokenizer_config.json", limits::kFileBytes);
  const auto found = config.find("chat_template");
  if (found == config.end()) return;
  if (found->is_string()) header.set_string("tokenizer.chat_template", found->get<std::string>());
  if (!found->is_array()) return;
  std::vector<std::string> names;
  for (const json& entry : *found) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") || !entry["name"].is_string() ||
        !entry["template"].is_string())
      throw Error(ErrorKind::invalid_file, "expected objects with \"name\" and \"template\"",
                  (folder / "tokenizer_config.json").string() + ": chat_template");
    const auto name = entry["name"].get<std::string>(), text = entry["template"].get<std::string>();
    if (name == "default") {
      header.set_string("tokenizer.chat_template", text);
      continue;
    }
    header.set_string("tokenizer.chat_template." + name, text);
    names.push_back(name);
  }
  if (!names.empty()) header.set_strings("tokenizer.chat_templates", names);
}

/// SentencePiece's unigram model, which GGUF calls "t5".
void set_unigram(GgufHeader& header, UnigramMetadata metadata, const Tokenizer& tokenizer, std::int64_t n_rows) {
  header.set_string(prefix + "model", "t5");
  header.set_string(prefix + "pre", "default");
  set_tokens(header, tokenizer, n_rows);
  metadata.scores.resize(static_cast<std::size_t>(n_rows));
  header.set_f32s(prefix + "scores", metadata.scores);
  header.set_bool(prefix + "add_space_prefix", metadata.add_space_prefix);
  header.set_bool(prefix + "remove_extra_whitespaces", metadata.remove_extra_whitespaces);
  if (!metadata.character_map.empty()) header.set_u8s(prefix + "precompiled_charsmap", metadata.character_map);
  // Where a file is silent, its readers take T5's.
  constexpr std::uint32_t none = 0xFFFFFFFF;
  for (const char* name : {"bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"})
    header.set_u32(prefix + name, none);
}

void set_json_tokenizer(GgufHeader& header, const std::string& text, const Tokenizer& tokenizer, std::int64_t n_rows) {
  const TokenizerJson file = read_tokenizer_json(text);
  if (!file.scores.empty()) return set_unigram(header, unigram_metadata(file, tokenizer), tokenizer, n_rows);
  const auto pre = file.document.find("pre_tokenizer");
  if (make_pre_tokenizer(pre == file.document.end() ? json() : *pre).byte_level) {
    const auto name = gguf_pre_tokenizer(file);
    if (!name)
      throw Error(ErrorKind::unsupported, "GGUF has no name for this pre-tokenizer with its normaliser",
                  "tokenizer.json: pre_tokenizer");
    header.set_string(prefix + "model", "gpt2");
    header.set_string(prefix + "pre", *name);
    set_tokens(header, tokenizer, n_rows);
    set_merges(header, file);
    return;
  }
  header.set_string(prefix + "model", "llama");
  header.set_string(prefix + "pre", "default");
  set_tokens(header, tokenizer, n_rows);
  header.set_f32s(prefix + "scores", scores_of_merges(file, tokenizer, n_rows));
  const std::vector<TokenId> ids = tokenizer.encode("a", false);
  header.set_bool(prefix + "add_space_prefix",
                  !ids.empty() && tokenizer.token_text(ids.front()).starts_with("\xe2\x96\x81"));
}

void set_sentencepiece(GgufHeader& header, const std::string& proto, const Tokenizer& tokenizer, std::int64_t n_rows) {
  const SentencePieceParts parts = read_sentencepiece_model(proto);
  if (parts.unigram)
    return set_unigram(header,
                       {parts.scores, parts.add_dummy_prefix, parts.remove_extra_whitespaces, parts.character_map},
                       tokenizer, n_rows);
  header.set_string(prefix + "model", "llama");
  header.set_string(prefix + "pre", "default");
  set_tokens(header, tokenizer, n_rows);
  std::vector<float> scores = parts.scores;
  scores.resize(static_cast<std::size_t>(n_rows));
  header.set_f32s(prefix + "scores", scores);
  header.set_bool(prefix + "add_space_prefix", parts.add_dummy_prefix);
  header.set_bool(prefix + "remove_extra_whitespaces", parts.remove_extra_whitespaces);
  if (!parts.character_map.empty()) header.set_u8s(prefix + "precompiled_charsmap", parts.character_map);
}

}  // namespace

bool set_tokenizer(GgufHeader& header, const Checkpoint& checkpoint, std::int64_t n_rows) {
  const fs::path folder = checkpoint.path();
  const std::string text = file_text(folder / "tokenizer.json");
  const std::string proto = text.empty() ? file_text(folder / "tokenizer.model") : std::string();
  if (text.empty() && proto.empty()) {
    header.set_string(prefix + "model", "no_vocab");
    return false;
  }
  const auto tokenizer = Tokenizer::load(checkpoint);
  if (!text.empty())
    set_json_tokenizer(header, text, *tokenizer, n_rows);
  else
    set_sentencepiece(header, proto, *tokenizer, n_rows);
  set_special(header, *tokenizer, checkpoint.config(), n_rows);
  set_templates(header, folder);
  return true;
}

}  // namespace moebox

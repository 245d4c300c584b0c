// A tokenizer from tokenizer.json and tokenizer_config.json.
#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/json_components.h"
#include "tokenizer/loaders.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/unigram.h"

namespace moebox {
namespace {

using nlohmann::json;

const char* const kWhere = "tokenizer.json";

[[noreturn]] void invalid_json_field(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::invalid_file, what, where);
}

/// The value at `key`, null when it is not there.
const json& value_at(const json& object, const char* key) {
  static const json none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

bool flag(const json& object, const char* key, const char* where) {
  const json& value = value_at(object, key);
  if (value.is_null()) return false;
  if (!value.is_boolean()) invalid_json_field(fmt::format("expected true or false as '{}'", key), where);
  return value.get<bool>();
}

std::optional<std::string> text(const json& object, const char* key, const char* where) {
  const json& value = value_at(object, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_string()) invalid_json_field(fmt::format("expected a string as '{}'", key), where);
  return value.get<std::string>();
}

std::vector<AddedToken> read_added_tokens(const json& list) {
  std::vector<AddedToken> out;
  if (list.is_null()) return out;
  if (!list.is_array()) invalid_json_field("expected a list", "tokenizer.json: added_tokens");
  for (const json& item : list) {
    const std::string where = fmt::format("tokenizer.json: added_tokens[{}]", out.size());
    if (!item.is_object()) invalid_json_field("expected an object", where);
    const json& id = value_at(item, "id");
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= limits::kTokens)
      invalid_json_field(fmt::format("expected an id below {}", limits::kTokens), where);
    auto content = text(item, "content", where.c_str());
    if (!content) invalid_json_field("expected 'content'", where);
    const bool control = flag(item, "special", where.c_str()) || looks_like_control(*content);
    out.push_back({.content = std::move(*content),
                   .id = id.get<TokenId>(),
                   .control = control,
                   .single_word = flag(item, "single_word", where.c_str()),
                   .strip_left = flag(item, "lstrip", where.c_str()),
                   .strip_right = flag(item, "rstrip", where.c_str()),
                   .normalized = flag(item, "normalized", where.c_str())});
  }
  return out;
}

/// The tokens of the model by id; of a unigram model an id is a place in the list.
std::vector<Vocabulary::Token> model_tokens(const TokenizerJson& file) {
  const bool listed = file.ids.empty();
  std::int64_t last = -1;
  for (std::size_t i = 0; i < file.texts.size(); ++i) {
    const std::int64_t id = listed ? static_cast<std::int64_t>(i) : file.ids[i];
    if (id < 0 || id >= static_cast<std::int64_t>(limits::kTokens)) {
      invalid_json_field(fmt::format("token '{}' has an id that is not between 0 and {}", file.texts[i].substr(0, 100),
                                     limits::kTokens - 1),
                         "tokenizer.json: model.vocab");
    }
    last = std::max(last, id);
  }
  std::vector<Vocabulary::Token> tokens(static_cast<std::size_t>(last + 1));
  for (std::size_t i = 0; i < file.texts.size(); ++i) {
    auto& token = tokens[listed ? i : static_cast<std::size_t>(file.ids[i])];
    if (token.kind != TokenKind::unused) {
      invalid_json_field(
          fmt::format("tokens '{}' and '{}' have the same id", token.text.substr(0, 100), file.texts[i].substr(0, 100)),
          "tokenizer.json: model.vocab");
    }
    token = {std::string(file.texts[i]), TokenKind::normal};
  }
  return tokens;
}

/// Puts the added tokens into the list of tokens.
void place_added_tokens(const std::vector<AddedToken>& added, std::vector<Vocabulary::Token>& tokens) {
  for (const AddedToken& token : added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= tokens.size()) tokens.resize(id + 1);
    auto& place = tokens[id];
    if (place.kind == TokenKind::control || place.kind == TokenKind::added)
      invalid_json_field(fmt::format("two added tokens have the id {}", id), "tokenizer.json: added_tokens");
    if (!place.text.empty() && place.text != token.content) {
      invalid_json_field(fmt::format("the added token '{}' has the id {} of the token '{}'",
                                     token.content.substr(0, 100), id, place.text.substr(0, 100)),
                         "tokenizer.json: added_tokens");
    }
    place = {token.content, token.control ? TokenKind::control : TokenKind::added};
  }
}

void mark_byte_tokens(std::vector<Vocabulary::Token>& tokens) {
  for (auto& token : tokens) {
    if (token.kind == TokenKind::normal && fallback_byte(token.text)) token.kind = TokenKind::byte;
  }
}

/// The id of the model's unknown token, and its kind set: as a name ("unk_token") or a number ("unk_id"). Nothing when
/// it is a control token of another meaning.
std::optional<TokenId> mark_unknown(const json& model, std::vector<Vocabulary::Token>& tokens) {
  std::optional<std::size_t> id;
  if (const auto name = text(model, "unk_token", "tokenizer.json: model.unk_token")) {
    const auto found =
        std::find_if(tokens.begin(), tokens.end(), [&](const auto& token) { return token.text == *name; });
    if (found == tokens.end())
      invalid_json_field(fmt::format("the unknown token '{}' is not in the vocabulary", *name),
                         "tokenizer.json: model.unk_token");
    id = static_cast<std::size_t>(found - tokens.begin());
  } else if (const json& number = value_at(model, "unk_id"); !number.is_null()) {
    if (!number.is_number_unsigned() || number.get<std::uint64_t>() >= tokens.size())
      invalid_json_field("expected the id of a token", "tokenizer.json: model.unk_id");
    id = number.get<std::size_t>();
  }
  if (!id) return std::nullopt;
  if (tokens[*id].kind == TokenKind::control && !names_unknown(tokens[*id].text)) return std::nullopt;
  tokens[*id].kind = TokenKind::unknown;
  return static_cast<TokenId>(*id);
}

std::unique_ptr<TokenModel> make_bpe(const TokenizerJson& file, const json& model, const Vocabulary& vocabulary,
                                     bool byte_level, std::optional<TokenId> unknown) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto affix = text(model, key, kWhere); affix && !affix->empty()) {
      throw Error(ErrorKind::unsupported, fmt::format("the BPE option '{}' is not supported", key),
                  "tokenizer.json: model");
    }
  }
  if (const json& dropout = value_at(model, "dropout"); !dropout.is_null() && dropout != 0.0) {
    throw Error(ErrorKind::unsupported, "BPE dropout is not supported", "tokenizer.json: model.dropout");
  }
  std::vector<Bpe::Merge> merges;
  merges.reserve(file.merges.size() / 2);
  std::string joined;
  for (std::size_t i = 0; i < file.merges.size(); i += 2) {
    const auto left = vocabulary.find(file.merges[i]), right = vocabulary.find(file.merges[i + 1]);
    joined.assign(file.merges[i]).append(file.merges[i + 1]);
    const auto result = vocabulary.find(joined);
    if (!left || !right || !result) {
      invalid_json_field(fmt::format("the merge of '{}' and '{}' refers to a token that is not in the vocabulary",
                                     file.merges[i].substr(0, 100), file.merges[i + 1].substr(0, 100)),
                         fmt::format("tokenizer.json: model.merges[{}]", i / 2));
    }
    merges.push_back({*left, *right, *result});
  }
  return std::make_unique<Bpe>(vocabulary, merges,
                               Bpe::Options{.byte_level = byte_level,
                                            .byte_fallback = flag(model, "byte_fallback", kWhere),
                                            .fuse_unknown = flag(model, "fuse_unk", kWhere),
                                            .ignore_merges = flag(model, "ignore_merges", kWhere),
                                            .unknown = unknown});
}

std::unique_ptr<TokenModel> make_unigram(const TokenizerJson& file, const json& model, const Vocabulary& vocabulary,
                                         std::optional<TokenId> unknown) {
  std::vector<double> scores = file.scores;
  scores.resize(static_cast<std::size_t>(vocabulary.size()));
  return make_unigram_model(vocabulary, scores,
                            UnigramOptions{.pieces = file.texts.size(),
                                           .unknown = unknown,
                                           .byte_fallback = flag(model, "byte_fallback", kWhere),
                                           .single_precision = false});
}

/// The text of "bos_token" and its like: a string, or an object with "content".
std::optional<TokenId> named_token(const json& config, const char* key, const Vocabulary& vocabulary) {
  const json& value = value_at(config, key);
  const json& content = value.is_object() ? value_at(value, "content") : value;
  return content.is_string() ? vocabulary.find(content.get_ref<const std::string&>()) : std::nullopt;
}

void apply_config(const json& config, PipelineParts& parts) {
  const Vocabulary& vocabulary = *parts.vocabulary;
  Tokenizer::Special& special = parts.special;
  special.bos = named_token(config, "bos_token", vocabulary);
  special.eos = named_token(config, "eos_token", vocabulary);
  special.padding = named_token(config, "pad_token", vocabulary);
  if (!special.unknown) special.unknown = named_token(config, "unk_token", vocabulary);
  // Where the configuration says whether BOS and EOS are added, it counts more than the post-processor's template.
  if (const json& add = value_at(config, "add_bos_token"); add.is_boolean()) {
    parts.before.clear();
    if (add.get<bool>() && special.bos) parts.before.push_back(*special.bos);
  }
  if (const json& add = value_at(config, "add_eos_token"); add.is_boolean()) {
    parts.after.clear();
    if (add.get<bool>() && special.eos) parts.after.push_back(*special.eos);
  }
}

}  // namespace

std::shared_ptr<const Tokenizer> load_json_tokenizer(std::string_view tokenizer_json,
                                                     std::string_view tokenizer_config_json,
                                                     std::vector<TokenId> ends) {
  TokenizerJson file = read_tokenizer_json(tokenizer_json);
  const json& model = value_at(file.document, "model");
  if (!model.is_object()) invalid_json_field("expected an object as 'model'", kWhere);
  if (!file.has_vocabulary) invalid_json_field("expected 'vocab' with the tokens", "tokenizer.json: model");
  const bool unigram = !file.scores.empty();
  const std::string type = text(model, "type", kWhere).value_or(unigram ? "Unigram" : "BPE");
  if (type != "BPE" && type != "Unigram")
    throw Error(ErrorKind::unsupported, fmt::format("the model '{}' is not supported", type.substr(0, 100)),
                "tokenizer.json: model.type", "supported are: BPE, Unigram");
  if (unigram != (type == "Unigram"))
    invalid_json_field(fmt::format("the vocabulary has not the shape of a {} model", type),
                       "tokenizer.json: model.vocab");

  PipelineParts parts;
  parts.added_tokens = read_added_tokens(value_at(file.document, "added_tokens"));
  std::vector<Vocabulary::Token> tokens = model_tokens(file);
  place_added_tokens(parts.added_tokens, tokens);
  if (flag(model, "byte_fallback", kWhere)) mark_byte_tokens(tokens);
  const std::optional<TokenId> unknown = mark_unknown(model, tokens);
  parts.special.unknown = unknown;
  parts.special.end_of_generation = std::move(ends);

  const TokenSpelling spelling(value_at(file.document, "decoder"));
  for (const auto& token : tokens) {
    const bool verbatim = token.kind == TokenKind::added || token.kind == TokenKind::unknown;
    parts.bytes.push_back(token.kind == TokenKind::control || token.text.empty() ? std::string()
                          : verbatim                                             ? token.text
                                                                                 : spelling.spell(token.text));
  }
  parts.bytes.shrink();
  parts.drops_leading_space = spelling.drops_leading_space();
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(tokens), kWhere);

  parts.normalizer = make_normalizer(value_at(file.document, "normalizer"));
  JsonPreTokenizer pre = make_pre_tokenizer(value_at(file.document, "pre_tokenizer"));
  parts.pre_tokenizer = std::move(pre.pre_tokenizer);
  parts.model = unigram ? make_unigram(file, model, *parts.vocabulary, unknown)
                        : make_bpe(file, model, *parts.vocabulary, pre.byte_level, unknown);

  AddedSpecials added = make_added_specials(value_at(file.document, "post_processor"), *parts.vocabulary);
  parts.before = std::move(added.before);
  parts.after = std::move(added.after);
  if (!tokenizer_config_json.empty()) apply_config(read_json(tokenizer_config_json, "tokenizer_config.json"), parts);
  return make_pipeline(std::move(parts));
}

}  // namespace moebox

// A tokenizer from the metadata of a GGUF file.
#include <string>

#include <fmt/core.h>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/loaders.h"
#include "tokenizer/named_pre_tokenizer.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece_parts.h"

namespace moebox {
namespace {

[[noreturn]] void invalid_metadata(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::invalid_file, what, where);
}

template <class List>
const List* find_list(const Checkpoint& checkpoint, const std::string& key, const char* type) {
  const MetadataValue* value = checkpoint.find(key);
  if (value == nullptr) return nullptr;
  const List* list = std::get_if<List>(value);
  if (list == nullptr) invalid_metadata(fmt::format("expected a list of {}", type), key);
  return list;
}

const std::vector<std::string_view>& strings(const Checkpoint& checkpoint, const std::string& key) {
  const auto* list = find_list<std::vector<std::string_view>>(checkpoint, key, "strings");
  if (list == nullptr) invalid_metadata("expected this list of strings", key);
  return *list;
}

TokenKind kind_of(std::int64_t type) {
  switch (type) {
    case 2:
      return TokenKind::unknown;
    case 3:
      return TokenKind::control;
    case 4:
      return TokenKind::added;
    case 5:
      return TokenKind::unused;
    case 6:
      return TokenKind::byte;
    default:
      return TokenKind::normal;
  }
}

std::vector<Vocabulary::Token> read_tokens(const Checkpoint& checkpoint) {
  const auto& texts = strings(checkpoint, "tokenizer.ggml.tokens");
  if (texts.size() > limits::kTokens) {
    throw Error(ErrorKind::resource,
                fmt::format("the vocabulary has {} tokens; at most {} are accepted", texts.size(), limits::kTokens),
                "tokenizer.ggml.tokens");
  }
  const auto* types = find_list<std::vector<std::int64_t>>(checkpoint, "tokenizer.ggml.token_type", "integers");
  if (types != nullptr && types->size() != texts.size()) {
    invalid_metadata(fmt::format("expected {} types, one for each token; found {}", texts.size(), types->size()),
                     "tokenizer.ggml.token_type");
  }
  std::vector<Vocabulary::Token> tokens;
  tokens.reserve(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i)
    tokens.push_back({std::string(texts[i]), types == nullptr ? TokenKind::normal : kind_of((*types)[i])});
  return tokens;
}

/// A token id of the metadata: nothing when the key is missing or -1.
std::optional<TokenId> id_at(const Checkpoint& checkpoint, const std::string& name, std::size_t vocab_size,
                             std::optional<TokenId> fallback = {}) {
  const std::string key = "tokenizer.ggml." + name;
  if (checkpoint.find(key) == nullptr)
    return fallback && static_cast<std::size_t>(*fallback) < vocab_size ? fallback : std::nullopt;
  const std::int64_t id = checkpoint.integer(key);
  if (id == -1 || id == 0xFFFFFFFF) return std::nullopt;
  if (id < 0 || static_cast<std::uint64_t>(id) >= vocab_size)
    invalid_metadata(fmt::format("the token {} is not in the vocabulary of {}", id, vocab_size), key);
  return static_cast<TokenId>(id);
}

Tokenizer::Special read_special(const Checkpoint& checkpoint, std::size_t vocab_size,
                                const Tokenizer::Special& fallback) {
  Tokenizer::Special special;
  special.bos = id_at(checkpoint, "bos_token_id", vocab_size, fallback.bos);
  special.eos = id_at(checkpoint, "eos_token_id", vocab_size, fallback.eos);
  special.unknown = id_at(checkpoint, "unknown_token_id", vocab_size, fallback.unknown);
  special.padding = id_at(checkpoint, "padding_token_id", vocab_size, fallback.padding);
  for (const char* name : {"eot_token_id", "eom_token_id"}) {
    if (const auto id = id_at(checkpoint, name, vocab_size)) special.end_of_generation.push_back(*id);
  }
  special.fim_prefix =
      id_at(checkpoint, "fim_pre_token_id", vocab_size, id_at(checkpoint, "prefix_token_id", vocab_size));
  special.fim_suffix =
      id_at(checkpoint, "fim_suf_token_id", vocab_size, id_at(checkpoint, "suffix_token_id", vocab_size));
  special.fim_middle =
      id_at(checkpoint, "fim_mid_token_id", vocab_size, id_at(checkpoint, "middle_token_id", vocab_size));
  return special;
}

/// What add_special adds: the file says it, or the family's default holds.
void read_added(const Checkpoint& checkpoint, const Tokenizer::Special& special, bool bos, bool eos,
                std::vector<TokenId>& before, std::vector<TokenId>& after) {
  if (checkpoint.boolean("tokenizer.ggml.add_bos_token", bos) && special.bos) before.push_back(*special.bos);
  if (checkpoint.boolean("tokenizer.ggml.add_eos_token", eos) && special.eos) after.push_back(*special.eos);
}

std::vector<Bpe::Merge> read_merges(const Checkpoint& checkpoint, const Vocabulary& vocabulary) {
  const std::string key = "tokenizer.ggml.merges";
  const auto& lines = strings(checkpoint, key);
  if (lines.size() > limits::kMerges)
    throw Error(ErrorKind::resource,
                fmt::format("there are {} merges; at most {} are accepted", lines.size(), limits::kMerges), key);
  std::vector<Bpe::Merge> merges;
  merges.reserve(lines.size());
  std::string joined;
  for (const std::string_view line : lines) {
    const std::size_t space = line.find(' ', 1);
    const std::string where = fmt::format("{}[{}]", key, merges.size());
    if (line.empty() || space == std::string_view::npos || space + 1 == line.size())
      invalid_metadata("expected two tokens and a space between them", where);
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    joined.assign(left).append(right);
    const auto left_id = vocabulary.find(left), right_id = vocabulary.find(right), result = vocabulary.find(joined);
    if (!left_id || !right_id || !result)
      invalid_metadata(
          fmt::format("the merge '{}' refers to a token that is not in the vocabulary", line.substr(0, 200)), where);
    merges.push_back({*left_id, *right_id, *result});
  }
  return merges;
}

std::shared_ptr<const Tokenizer> load_byte_level(const Checkpoint& checkpoint) {
  NamedPreTokenizer named = make_named_pre_tokenizer(checkpoint.string("tokenizer.ggml.pre", "default"));
  std::vector<Vocabulary::Token> tokens = read_tokens(checkpoint);
  PipelineParts parts;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    auto& token = tokens[i];
    if (token.kind == TokenKind::added && looks_like_control(token.text)) token.kind = TokenKind::control;
    const bool special = token.kind == TokenKind::control || token.kind == TokenKind::added;
    if (special && !token.text.empty()) {
      parts.added_tokens.push_back(
          {.content = token.text, .id = static_cast<TokenId>(i), .control = token.kind == TokenKind::control});
    }
    if (token.kind == TokenKind::control) {
      parts.bytes.push_back({});
    } else {
      const auto bytes = token.kind == TokenKind::added ? std::nullopt : byte_level::to_bytes(token.text);
      parts.bytes.push_back(bytes ? *bytes : token.text);
    }
  }
  parts.bytes.shrink();
  parts.special = read_special(checkpoint, tokens.size(), {});
  parts.vocabulary = std::make_unique<Vocabulary>(std::move(tokens), "tokenizer.ggml.tokens");
  read_added(checkpoint, parts.special, named.add_bos, false, parts.before, parts.after);
  parts.normalizer = std::move(named.normalizer);
  parts.pre_tokenizer = std::move(named.pre_tokenizer);
  parts.model = std::make_unique<Bpe>(
      *parts.vocabulary, read_merges(checkpoint, *parts.vocabulary),
      Bpe::Options{.byte_level = true, .ignore_merges = named.ignore_merges, .unknown = std::nullopt});
  return make_pipeline(std::move(parts));
}

std::vector<float> read_scores(const Checkpoint& checkpoint, std::size_t vocab_size) {
  const std::string key = "tokenizer.ggml.scores";
  const auto* scores = find_list<std::vector<double>>(checkpoint, key, "floats");
  if (scores == nullptr) invalid_metadata("expected this list of floats", key);
  if (scores->size() != vocab_size)
    invalid_metadata(fmt::format("expected {} scores, one for each token; found {}", vocab_size, scores->size()), key);
  return {scores->begin(), scores->end()};
}

std::string read_character_map(const Checkpoint& checkpoint) {
  const std::string key = "tokenizer.ggml.precompiled_charsmap";
  const auto* values = find_list<std::vector<std::int64_t>>(checkpoint, key, "bytes");
  std::string out;
  if (values == nullptr) return out;
  out.reserve(values->size());
  for (const std::int64_t value : *values) {
    if (value < -128 || value > 255) invalid_metadata("expected bytes", key);
    out.push_back(static_cast<char>(value));
  }
  return out;
}

std::shared_ptr<const Tokenizer> load_sentencepiece(const Checkpoint& checkpoint, bool unigram) {
  SentencePieceParts parts;
  parts.tokens = read_tokens(checkpoint);
  const std::size_t size = parts.tokens.size();
  parts.scores = read_scores(checkpoint, size);
  parts.unigram = unigram;
  const Tokenizer::Special llama{.bos = 1,
                                 .eos = 2,
                                 .unknown = 0,
                                 .padding = {},
                                 .end_of_generation = {},
                                 .fim_prefix = {},
                                 .fim_suffix = {},
                                 .fim_middle = {}};
  const Tokenizer::Special t5{.bos = {},
                              .eos = 1,
                              .unknown = 2,
                              .padding = 0,
                              .end_of_generation = {},
                              .fim_prefix = {},
                              .fim_suffix = {},
                              .fim_middle = {}};
  parts.special = read_special(checkpoint, size, unigram ? t5 : llama);
  parts.add_dummy_prefix = checkpoint.boolean("tokenizer.ggml.add_space_prefix", true);
  parts.remove_extra_whitespaces = checkpoint.boolean("tokenizer.ggml.remove_extra_whitespaces", false);
  parts.character_map = read_character_map(checkpoint);
  read_added(checkpoint, parts.special, !unigram, unigram, parts.before, parts.after);
  return make_sentencepiece_tokenizer(std::move(parts), "tokenizer.ggml");
}

}  // namespace

std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const Checkpoint& checkpoint) {
  const std::string key = "tokenizer.ggml.model";
  if (checkpoint.find(key) == nullptr) throw Error(ErrorKind::not_found, "the file carries no tokenizer", key);
  const std::string model = checkpoint.string(key);
  if (model == "gpt2") return load_byte_level(checkpoint);
  if (model == "llama") return load_sentencepiece(checkpoint, false);
  if (model == "t5") return load_sentencepiece(checkpoint, true);
  if (model == "none" || model == "no_vocab")
    throw Error(ErrorKind::not_found, "the file says that it carries no tokenizer", key);
  throw Error(ErrorKind::unsupported, fmt::format("the tokenizer model '{}' is not supported", model.substr(0, 100)),
              key, "supported are: gpt2, llama, t5");
}

}  // namespace moebox

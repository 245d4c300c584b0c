// Putting a SentencePiece tokenizer together.
#include "tokenizer/sentencepiece_parts.h"

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/sentencepiece_bpe.h"
#include "tokenizer/sentencepiece_normalizer.h"
#include "tokenizer/unigram.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

/// The bytes of a piece: marks are spaces again.
std::string spell(const Vocabulary::Token& token, const std::string& unknown_surface) {
  switch (token.kind) {
    case TokenKind::control:
      return {};
    case TokenKind::unknown:
      return unknown_surface;
    case TokenKind::byte:
      if (const auto byte = fallback_byte(token.text)) return std::string(1, static_cast<char>(*byte));
      return token.text;
    default:
      break;
  }
  std::string out;
  for (std::string_view rest = token.text; !rest.empty();) {
    if (rest.starts_with(kSpaceMark)) {
      out.push_back(' ');
      rest.remove_prefix(kSpaceMark.size());
    } else {
      out.push_back(rest[0]);
      rest.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace

std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(SentencePieceParts parts, std::string_view where) {
  PipelineParts out;
  for (auto& token : parts.tokens) {
    if (token.kind == TokenKind::added && looks_like_control(token.text)) token.kind = TokenKind::control;
  }
  if (parts.special.unknown) {
    auto& token = parts.tokens[static_cast<std::size_t>(*parts.special.unknown)];
    if (token.kind == TokenKind::control && names_unknown(token.text)) token.kind = TokenKind::unknown;
  }
  std::vector<TokenId> user_defined;
  for (std::size_t i = 0; i < parts.tokens.size(); ++i) {
    const auto& token = parts.tokens[i];
    const auto id = static_cast<TokenId>(i);
    out.bytes.push_back(spell(token, parts.unknown_surface));
    if (token.kind == TokenKind::control && !token.text.empty())
      out.added_tokens.push_back({.content = token.text, .id = id});
    if (token.kind == TokenKind::added && !token.text.empty()) user_defined.push_back(id);
    if (token.kind == TokenKind::unknown && !parts.special.unknown) parts.special.unknown = id;
  }
  out.bytes.shrink();
  std::optional<TokenId> unknown = parts.special.unknown;
  if (unknown && parts.tokens[static_cast<std::size_t>(*unknown)].kind == TokenKind::control) unknown.reset();
  out.vocabulary = std::make_unique<Vocabulary>(std::move(parts.tokens), where);
  const Vocabulary& vocabulary = *out.vocabulary;

  SentencePieceRules rules{.map = std::nullopt,
                           .user_defined = {},
                           .add_dummy_prefix = parts.add_dummy_prefix,
                           .remove_extra_whitespaces = parts.remove_extra_whitespaces,
                           .escape_whitespaces = parts.escape_whitespaces,
                           .whitespace_as_suffix = parts.whitespace_as_suffix};
  if (!parts.character_map.empty()) rules.map.emplace(parts.character_map, where);
  std::vector<std::pair<std::string_view, TokenId>> symbols;
  for (const TokenId id : user_defined) symbols.emplace_back(vocabulary.text(id), id);
  rules.user_defined = PieceTrie(std::move(symbols));
  out.normalizer = sentencepiece_normalizer(std::move(rules));

  if (parts.unigram) {
    const std::vector<double> scores(parts.scores.begin(), parts.scores.end());
    out.model = make_unigram_model(
        vocabulary, scores,
        UnigramOptions{.pieces = scores.size(), .unknown = unknown, .byte_fallback = true, .single_precision = true});
  } else {
    out.model = make_sentencepiece_bpe(vocabulary, std::move(parts.scores), unknown);
  }
  out.drops_leading_space = parts.add_dummy_prefix || parts.remove_extra_whitespaces;
  out.before = std::move(parts.before);
  out.after = std::move(parts.after);
  out.special = std::move(parts.special);
  return make_pipeline(std::move(out));
}

}  // namespace moebox

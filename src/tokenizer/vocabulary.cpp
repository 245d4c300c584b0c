// Building and searching a vocabulary.
#include "tokenizer/vocabulary.h"

#include <bit>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox {

void StringList::push_back(std::string_view text) {
  if (bytes_.size() + text.size() > limits::kVocabularyBytes) {
    throw Error(ErrorKind::resource, fmt::format("the tokenizer's texts exceed {} MB", limits::kVocabularyBytes >> 20),
                "tokenizer");
  }
  bytes_.append(text);
  ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
}

Vocabulary::Vocabulary(std::vector<Token> tokens, std::string_view where) {
  if (tokens.empty()) throw Error(ErrorKind::invalid_file, "the vocabulary is empty", std::string(where));
  if (tokens.size() > limits::kTokens) {
    throw Error(ErrorKind::resource,
                fmt::format("the vocabulary has {} ids; at most {} are accepted", tokens.size(), limits::kTokens),
                std::string(where));
  }
  slots_.assign(std::bit_ceil(tokens.size() + tokens.size() / 2), -1);
  const std::size_t mask = slots_.size() - 1;
  kinds_.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string& text = tokens[id].text;
    if (text.size() > limits::kTokenBytes) {
      throw Error(ErrorKind::resource,
                  fmt::format("token {} has {} bytes; at most {} are accepted", id, text.size(), limits::kTokenBytes),
                  std::string(where));
    }
    texts_.push_back(text);
    kinds_.push_back(text.empty() ? TokenKind::unused : tokens[id].kind);
    if (text.empty()) continue;
    std::size_t slot = hash_bytes(text) & mask;
    for (int probes = 0; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      if (texts_[static_cast<std::size_t>(slots_[slot])] == text) {
        throw Error(ErrorKind::invalid_file,
                    fmt::format("tokens {} and {} have the same text '{}'", slots_[slot], id, text), std::string(where),
                    "the file is damaged or was made to confuse: get it from its author");
      }
      if (++probes > kMaxProbes) {
        throw Error(ErrorKind::invalid_file, "the vocabulary was made to be slow: its texts collide",
                    std::string(where));
      }
    }
    slots_[slot] = static_cast<TokenId>(id);
  }
  texts_.shrink();
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash_bytes(text) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (this->text(slots_[slot]) == text) return slots_[slot];
  }
  return std::nullopt;
}

std::optional<TokenId> Vocabulary::find_plain(std::string_view text) const noexcept {
  const std::optional<TokenId> id = find(text);
  if (id && (kind(*id) == TokenKind::control || kind(*id) == TokenKind::unknown)) return std::nullopt;
  return id;
}

}  // namespace moebox

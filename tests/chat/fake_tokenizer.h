// A tokenizer for tests: every byte is a token, and given texts are control tokens when the template wrote all of their
// bytes.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace moebox {

class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> control) : control_(std::move(control)) {
    for (int b = 0; b < 256; ++b) bytes_.push_back(std::string(1, static_cast<char>(b)));
  }

  int vocab_size() const noexcept override { return 256 + static_cast<int>(control_.size()); }
  std::string_view token_text(TokenId id) const noexcept override {
    if (id < 0 || id >= vocab_size()) return {};
    return id < 256 ? bytes_[static_cast<std::size_t>(id)] : control_[static_cast<std::size_t>(id - 256)];
  }
  TokenKind token_kind(TokenId id) const noexcept override { return id < 256 ? TokenKind::byte : TokenKind::control; }
  std::optional<TokenId> find(std::string_view text) const noexcept override {
    for (TokenId id = 0; id < vocab_size(); ++id) {
      if (token_text(id) == text) return id;
    }
    return std::nullopt;
  }

  std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special) const override {
    std::string text;
    std::vector<bool> trusted;
    for (const TextSpan& span : spans) {
      text += span.text;
      trusted.insert(trusted.end(), span.text.size(), span.trusted);
    }
    std::vector<TokenId> ids;
    if (add_special && special_.bos) ids.push_back(*special_.bos);
    for (std::size_t at = 0; at < text.size();) {
      const TokenId found = control_at(text, trusted, at);
      ids.push_back(found >= 0 ? found : static_cast<unsigned char>(text[at]));
      at += found >= 0 ? control_[static_cast<std::size_t>(found - 256)].size() : 1;
    }
    return ids;
  }
  using Tokenizer::encode;

  std::string_view token_bytes(TokenId id, bool show_control = false) const noexcept override {
    return id >= 256 && !show_control ? std::string_view() : token_text(id);
  }
  std::string decode(std::span<const TokenId> ids, bool show_control = false) const override {
    std::string text;
    for (const TokenId id : ids) text += token_bytes(id, show_control);
    return text;
  }
  bool drops_leading_space() const noexcept override { return false; }
  const Special& special() const noexcept override { return special_; }
  Special& special() { return special_; }

  /// The control tokens among the ids.
  static std::vector<TokenId> control_of(const std::vector<TokenId>& ids) {
    std::vector<TokenId> control;
    for (const TokenId id : ids) {
      if (id >= 256) control.push_back(id);
    }
    return control;
  }

 private:
  /// The longest control token that starts at `at`, or -1.
  TokenId control_at(const std::string& text, const std::vector<bool>& trusted, std::size_t at) const {
    TokenId best = -1;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < control_.size(); ++i) {
      const std::string& name = control_[i];
      if (name.size() <= longest || text.compare(at, name.size(), name) != 0) continue;
      bool all = true;
      for (std::size_t k = 0; k < name.size(); ++k) all = all && trusted[at + k];
      if (all) {
        best = static_cast<TokenId>(256 + i);
        longest = name.size();
      }
    }
    return best;
  }

  std::vector<std::string> control_, bytes_;
  Special special_;
};

}  // namespace moebox

// SentencePiece's normalisation of a text.
#include "tokenizer/sentencepiece_normalizer.h"

#include <algorithm>
#include <utility>

#include "tokenizer/utf8.h"

namespace moebox {
namespace {

class SentencePieceNormalizer final : public Normalizer {
 public:
  explicit SentencePieceNormalizer(SentencePieceRules rules) : rules_(std::move(rules)) {}

  bool apply(std::string_view text, std::string& out, MatchBudget& budget) const override {
    const std::string_view space = rules_.escape_whitespaces ? kSpaceMark : " ";
    const std::size_t before = out.size();
    if (rules_.remove_extra_whitespaces) {
      while (!text.empty()) {
        const Part part = next(text);
        if (part.replacement != " ") break;
        text.remove_prefix(part.length);
      }
    }
    if (text.empty()) return true;
    if (rules_.add_dummy_prefix && !rules_.whitespace_as_suffix) out.append(space);
    bool after_space = rules_.remove_extra_whitespaces;
    while (!text.empty()) {
      Part part = next(text);
      text.remove_prefix(part.length);
      while (after_space && part.replacement.starts_with(' ')) part.replacement.remove_prefix(1);
      budget.produce(part.replacement.size());
      for (const char c : part.replacement) {
        if (c == ' ') {
          out.append(space);
        } else {
          out.push_back(c);
        }
      }
      if (!part.replacement.empty()) after_space = rules_.remove_extra_whitespaces && part.replacement.ends_with(' ');
    }
    if (rules_.remove_extra_whitespaces) {
      while (std::string_view(out).substr(before).ends_with(space)) out.resize(out.size() - space.size());
    }
    if (rules_.add_dummy_prefix && rules_.whitespace_as_suffix) out.append(space);
    // A hostile map may replace by anything; everything behind expects characters.
    if (utf8::valid_prefix(std::string_view(out).substr(before)) != out.size() - before) {
      const std::string valid = utf8::replace_invalid(std::string_view(out).substr(before));
      out.replace(before, std::string::npos, valid);
    }
    return true;
  }

 private:
  struct Part {
    std::string_view replacement;
    std::size_t length;  // bytes of the text
  };

  /// What the text begins with: a symbol of the author, a rule's left side, or a character.
  Part next(std::string_view text) const {
    std::size_t symbol = 0;
    rules_.user_defined.match(text, [&](std::size_t length, TokenId) { symbol = length; });
    if (symbol > 0) return {text.substr(0, symbol), symbol};
    if (rules_.map) {
      if (const auto rule = rules_.map->longest(text)) return {rule->replacement, whole_characters(text, rule->length)};
    }
    const auto length = static_cast<std::size_t>(utf8::length(text[0]));
    return {text.substr(0, length), length};
  }

  /// Rules of an honest map end where characters end.
  static std::size_t whole_characters(std::string_view text, std::size_t length) {
    while (length < text.size() && utf8::is_continuation(text[length])) ++length;
    return length;
  }

  SentencePieceRules rules_;
};

}  // namespace

std::unique_ptr<Normalizer> sentencepiece_normalizer(SentencePieceRules rules) {
  return std::make_unique<SentencePieceNormalizer>(std::move(rules));
}

}  // namespace moebox

// The simple normalizers.
#include "tokenizer/normalizer.h"

#include <utility>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

class FormNormalizer final : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  bool apply(std::string_view text, std::string& out, MatchBudget&) const override {
    return normalize(text, form_, out);
  }

 private:
  NormalForm form_;
};

class LowerCaseNormalizer final : public Normalizer {
 public:
  bool apply(std::string_view text, std::string& out, MatchBudget&) const override {
    append_lower_case(text, out);
    return true;
  }
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<Pattern> pattern, std::string replacement)
      : pattern_(std::move(pattern)), replacement_(std::move(replacement)) {}

  bool apply(std::string_view text, std::string& out, MatchBudget& budget) const override {
    bool changed = false;
    const std::size_t before = out.size();
    for_each_segment(*pattern_, text, budget, [&](std::size_t begin, std::size_t end, bool is_match) {
      const std::string_view part = is_match ? std::string_view(replacement_) : text.substr(begin, end - begin);
      budget.produce(part.size());
      out.append(part);
      changed |= is_match;
    });
    if (!changed) out.resize(before);
    return changed;
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string replacement_;
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  bool apply(std::string_view text, std::string& out, MatchBudget& budget) const override {
    if (text.empty()) return false;
    budget.produce(prefix_.size() + text.size());
    out.append(prefix_).append(text);
    return true;
  }

 private:
  std::string prefix_;
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  bool apply(std::string_view text, std::string& out, MatchBudget&) const override {
    std::string_view rest = text;
    while (left_ && !rest.empty() && unicode::is_whitespace(utf8::decode(rest.data()))) {
      rest.remove_prefix(static_cast<std::size_t>(utf8::length(rest[0])));
    }
    while (right_ && !rest.empty()) {
      std::size_t last = rest.size() - 1;
      while (utf8::is_continuation(rest[last])) --last;
      if (!unicode::is_whitespace(utf8::decode(rest.data() + last))) break;
      rest = rest.substr(0, last);
    }
    if (rest.size() == text.size()) return false;
    out.append(rest);
    return true;
  }

 private:
  bool left_, right_;
};

class StripAccentsNormalizer final : public Normalizer {
 public:
  bool apply(std::string_view text, std::string& out, MatchBudget&) const override {
    for (std::size_t at = 0, length; at < text.size(); at += length) {
      length = static_cast<std::size_t>(utf8::length(text[at]));
      const char32_t c = utf8::decode(text.data() + at);
      if (!unicode::in(unicode::kMark, c) || younger_than_reference(c)) out.append(text.substr(at, length));
    }
    return true;
  }
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> normalizers)
      : normalizers_(std::move(normalizers)) {}
  bool apply(std::string_view text, std::string& out, MatchBudget& budget) const override {
    std::string current, next;
    bool changed = false;
    for (const auto& normalizer : normalizers_) {
      next.clear();
      if (!normalizer->apply(changed ? std::string_view(current) : text, next, budget)) continue;
      current.swap(next);
      changed = true;
    }
    if (changed) out.append(current);
    return changed;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> normalizers_;
};

}  // namespace

std::unique_ptr<Normalizer> form_normalizer(NormalForm form) { return std::make_unique<FormNormalizer>(form); }
std::unique_ptr<Normalizer> lower_case_normalizer() { return std::make_unique<LowerCaseNormalizer>(); }
std::unique_ptr<Normalizer> replace_normalizer(std::unique_ptr<Pattern> pattern, std::string replacement) {
  return std::make_unique<ReplaceNormalizer>(std::move(pattern), std::move(replacement));
}
std::unique_ptr<Normalizer> prepend_normalizer(std::string prefix) {
  return std::make_unique<PrependNormalizer>(std::move(prefix));
}
std::unique_ptr<Normalizer> strip_normalizer(bool left, bool right) {
  return std::make_unique<StripNormalizer>(left, right);
}
std::unique_ptr<Normalizer> strip_accents_normalizer() { return std::make_unique<StripAccentsNormalizer>(); }
std::unique_ptr<Normalizer> normalizer_sequence(std::vector<std::unique_ptr<Normalizer>> normalizers) {
  return std::make_unique<NormalizerSequence>(std::move(normalizers));
}

}  // namespace moebox

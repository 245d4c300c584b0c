// The simple patterns, the budget, and the choice of an engine for a regular expression.
#include "tokenizer/pattern.h"

#include <ctime>
#include <utility>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

std::uint64_t thread_time_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

class LiteralPattern final : public Pattern {
 public:
  explicit LiteralPattern(std::string text) : text_(std::move(text)) {}
  std::optional<Match> find(std::string_view text, std::size_t from, MatchBudget&) const override {
    const std::size_t at = text.find(text_, from);
    if (at == std::string_view::npos) return std::nullopt;
    return Match{at, at + text_.size()};
  }

 private:
  std::string text_;
};

class CharacterPattern final : public Pattern {
 public:
  explicit CharacterPattern(CharSet set) : set_(std::move(set)) {}
  std::optional<Match> find(std::string_view text, std::size_t from, MatchBudget&) const override {
    for (std::size_t at = from; at < text.size();) {
      const auto length = static_cast<std::size_t>(utf8::length(text[at]));
      if (set_.contains(utf8::decode(text.data() + at))) return Match{at, at + length};
      at += length;
    }
    return std::nullopt;
  }

 private:
  CharSet set_;
};

}  // namespace

MatchBudget::MatchBudget(std::size_t text_bytes)
    : steps_(10'000'000 + 500 * static_cast<std::uint64_t>(text_bytes)),
      bytes_(1'000'000 + 256 * static_cast<std::uint64_t>(text_bytes)),
      deadline_ns_(thread_time_ns() + 2'000'000'000 + 2'000 * static_cast<std::uint64_t>(text_bytes)) {}

void MatchBudget::check_time() {
  if (++calls_ % 16 == 0 && thread_time_ns() > deadline_ns_) exhausted();
}

void MatchBudget::exhausted() {
  throw Error(ErrorKind::resource, "a regular expression of the tokenizer takes too long on this text", "tokenizer",
              "the tokenizer's file may be hostile: do not use it, or shorten the text");
}

void MatchBudget::too_long() {
  throw Error(ErrorKind::resource, "the tokenizer's normalizer or pre-tokenizer makes the text too long", "tokenizer",
              "the tokenizer's file may be hostile: do not use it");
}

std::unique_ptr<Pattern> compile_regex(std::string_view regex, std::string_view where) {
  if (auto pattern = compile_class_regex(regex)) return pattern;
  return compile_pcre_regex(regex, where);
}

std::unique_ptr<Pattern> literal_pattern(std::string text) { return std::make_unique<LiteralPattern>(std::move(text)); }
std::unique_ptr<Pattern> character_pattern(CharSet set) { return std::make_unique<CharacterPattern>(std::move(set)); }

}  // namespace moebox

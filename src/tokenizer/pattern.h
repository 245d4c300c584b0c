// Patterns that split text: regular expressions, literals, sets of characters. Text is valid UTF-8 throughout.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/char_set.h"

namespace moebox {

/// How much work the patterns of a tokenizer may do on one text, and how long the text may become. Someone else's
/// regular expression may need exponential time; an honest one needs a few steps a byte. A chain of replacements may
/// make exponentially long texts; an honest one makes a few times the text.
class MatchBudget {
 public:
  explicit MatchBudget(std::size_t text_bytes);
  /// Counts steps; throws Error(resource) when they are used up.
  void spend(std::uint64_t steps) {
    if (steps > steps_) exhausted();
    steps_ -= steps;
  }
  /// Looks at the processor time used since the budget was made (for engines that do not count); throws
  /// Error(resource).
  void check_time();
  /// Counts bytes of changed copies of the text, of all steps together; throws Error(resource) when they are too many.
  void produce(std::uint64_t bytes) {
    if (bytes > bytes_) too_long();
    bytes_ -= bytes;
  }

 private:
  [[noreturn]] static void exhausted();
  [[noreturn]] static void too_long();

  std::uint64_t steps_, bytes_;
  std::uint64_t deadline_ns_;
  unsigned calls_ = 0;
};

struct Match {
  std::size_t begin, end;  // bytes
};

class Pattern {
 public:
  virtual ~Pattern() = default;
  /// The first match that begins at byte `from` or later.
  virtual std::optional<Match> find(std::string_view text, std::size_t from, MatchBudget& budget) const = 0;
};

/// Compiles a regular expression in Oniguruma's syntax as Hugging Face tokenizers use it ('^' and '$' match at every
/// line). Sequences and alternatives of character classes run on our own matcher with Unicode 16 (class_regex.cpp),
/// everything else on PCRE2 (pcre_regex.cpp; Unicode 14 with Debian 12). Throws Error(unsupported) or
/// Error(invalid_file); `where` names the place.
std::unique_ptr<Pattern> compile_regex(std::string_view regex, std::string_view where);

/// The two engines. The first gives nullptr for what it does not know.
std::unique_ptr<Pattern> compile_class_regex(std::string_view regex);
std::unique_ptr<Pattern> compile_pcre_regex(std::string_view regex, std::string_view where);

/// Matches exactly `text` (not empty).
std::unique_ptr<Pattern> literal_pattern(std::string text);
/// Matches one character of the set.
std::unique_ptr<Pattern> character_pattern(CharSet set);

/// Cuts `text` at the matches, in order: `visit(begin, end, is_match)`. Matches may be empty.
template <class Visit>
void for_each_segment(const Pattern& pattern, std::string_view text, MatchBudget& budget, Visit&& visit) {
  std::size_t from = 0, done = 0;
  std::optional<std::size_t> last_end;
  while (from <= text.size()) {
    const std::optional<Match> match = pattern.find(text, from, budget);
    if (!match) break;
    if (match->begin == match->end && last_end == match->end) {  // an empty match right after a match does not count
      if (from >= text.size()) break;
      do ++from;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
      continue;
    }
    if (done < match->begin) visit(done, match->begin, false);
    visit(match->begin, match->end, true);
    from = done = match->end;
    last_end = match->end;
  }
  if (done < text.size()) visit(done, text.size(), false);
}

}  // namespace moebox

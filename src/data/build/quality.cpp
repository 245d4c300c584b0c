#include "data/build/quality.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/build/words.h"
#include "data/random.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace moebox::data {
namespace {

using Words = std::vector<std::string_view>;

constexpr std::string_view ellipsis = "\xE2\x80\xA6";

std::vector<std::string_view> pieces(std::string_view text, std::string_view border) {
  std::vector<std::string_view> list;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(border), text.size());
    std::string_view piece = text.substr(0, end);
    while (!piece.empty() && static_cast<unsigned char>(piece.front()) <= ' ') piece.remove_prefix(1);
    while (!piece.empty() && static_cast<unsigned char>(piece.back()) <= ' ') piece.remove_suffix(1);
    if (!piece.empty()) list.push_back(piece);
    text.remove_prefix(std::min(end + border.size(), text.size()));
  }
  return list;
}

bool has_letter(std::string_view word) {
  for (std::size_t at = 0; at < word.size(); at += static_cast<std::size_t>(utf8::length(word[at]))) {
    const auto byte = static_cast<unsigned char>(word[at]);
    if (byte < 0x80 ? std::isalpha(byte) != 0 : unicode::in(unicode::kLetter, utf8::decode(word.data() + at)))
      return true;
  }
  return false;
}

std::size_t count_of(std::string_view text, std::string_view what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

bool begins_with_bullet(std::string_view line) {
  constexpr std::string_view bullets[] = {"-", "*", "\xE2\x80\xA2", "\xE2\x96\xA0", "\xC2\xB7", "\xE2\x97\x8F"};
  return std::ranges::any_of(bullets, [&](std::string_view bullet) { return line.starts_with(bullet); });
}

const char* word_problem(std::string_view text, const Words& words) {
  std::size_t spaced = 0, characters = 0, with_letters = 0;
  for (const std::string_view word : words) {
    with_letters += has_letter(word);
    if (is_word_by_itself(utf8::decode(word.data()))) continue;
    ++spaced;
    characters += utf8::count(word);
  }
  const auto n = static_cast<double>(words.size());
  // Of a text mainly without spaces the rest are numbers and names.
  const double mean = spaced > 0 ? static_cast<double>(characters) / static_cast<double>(spaced) : 0;
  if (static_cast<double>(spaced) > 0.5 * n && (mean < 3 || mean > 10)) return "word_length";
  const auto hashes = static_cast<double>(count_of(text, "#"));
  const auto dots = static_cast<double>(count_of(text, "...") + count_of(text, ellipsis));
  if (hashes > 0.1 * n || dots > 0.1 * n) return "symbols";
  return static_cast<double>(with_letters) < 0.8 * n ? "few_letters" : nullptr;
}

const char* line_problem(const Words& lines) {
  std::size_t bullets = 0, ellipses = 0;
  for (const std::string_view line : lines) {
    bullets += begins_with_bullet(line);
    ellipses += line.ends_with("...") || line.ends_with(ellipsis);
  }
  const auto n = static_cast<double>(lines.size());
  if (static_cast<double>(bullets) > 0.9 * n) return "bullets";
  return static_cast<double>(ellipses) > 0.3 * n ? "ellipses" : nullptr;
}

/// Whether pieces that came before are too many, or too much of the text.
bool repeats(const Words& parts) {
  std::unordered_set<std::string_view> seen;
  std::size_t repeated = 0, repeated_bytes = 0, bytes = 0;
  for (const std::string_view part : parts) {
    bytes += part.size();
    if (seen.insert(part).second) continue;
    ++repeated;
    repeated_bytes += part.size();
  }
  return static_cast<double>(repeated) > 0.3 * static_cast<double>(parts.size()) ||
         static_cast<double>(repeated_bytes) > 0.2 * static_cast<double>(bytes);
}

/// Hashes of all phrases of `n` words, and how many bytes each has, without what is between words.
struct Phrases {
  std::vector<std::uint64_t> keys;
  std::vector<std::size_t> bytes;
};

Phrases phrases_of(const std::vector<std::uint64_t>& hashes, const Words& words, std::size_t n) {
  Phrases phrases;
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    std::uint64_t key = n;
    std::size_t bytes = 0;
    for (std::size_t k = i; k < i + n; ++k) {
      key = mix(key ^ hashes[k]);
      bytes += words[k].size();
    }
    phrases.keys.push_back(key);
    phrases.bytes.push_back(bytes);
  }
  return phrases;
}

bool one_phrase_rules(const Phrases& phrases, double most_bytes) {
  std::unordered_map<std::uint64_t, std::size_t> bytes;
  for (std::size_t i = 0; i < phrases.keys.size(); ++i) {
    // A phrase that occurs once does not repeat, however long it is.
    const auto [found, is_first] = bytes.try_emplace(phrases.keys[i], phrases.bytes[i]);
    if (is_first) continue;
    found->second += phrases.bytes[i];
    if (static_cast<double>(found->second) > most_bytes) return true;
  }
  return false;
}

bool phrases_return(const Phrases& phrases, const Words& words, std::size_t n, double most_bytes) {
  std::unordered_set<std::uint64_t> seen;
  std::size_t covered = 0, bytes = 0;  // words before `covered` are counted
  for (std::size_t i = 0; i < phrases.keys.size(); ++i) {
    if (seen.insert(phrases.keys[i]).second) continue;
    for (std::size_t k = std::max(covered, i); k < i + n; ++k) bytes += words[k].size();
    covered = i + n;
  }
  return static_cast<double>(bytes) > most_bytes;
}

bool repeats_phrases(const Words& words) {
  std::vector<std::uint64_t> hashes;
  double bytes = 0;
  for (const std::string_view word : words) {
    hashes.push_back(std::hash<std::string_view>()(word));
    bytes += static_cast<double>(word.size());
  }
  constexpr double most_of_one[] = {0.20, 0.18, 0.16};
  for (std::size_t n = 2; n <= 4; ++n)
    if (one_phrase_rules(phrases_of(hashes, words, n), most_of_one[n - 2] * bytes)) return true;
  for (std::size_t n = 5; n <= 10; ++n)
    if (phrases_return(phrases_of(hashes, words, n), words, n, (0.20 - 0.01 * static_cast<double>(n)) * bytes))
      return true;
  return false;
}

}  // namespace

const char* prose_problem(std::string_view text) {
  const Words words = words_of(text);
  if (words.size() < 50) return "too_short";
  if (words.size() > 100'000) return "too_long";
  if (const char* problem = word_problem(text, words)) return problem;
  if (text.find("lorem ipsum") != std::string_view::npos || text.find("Lorem ipsum") != std::string_view::npos)
    return "lorem_ipsum";
  const Words lines = pieces(text, "\n");
  if (const char* problem = line_problem(lines)) return problem;
  if (lines.size() > 1 && repeats(lines)) return "repeated_lines";
  const Words paragraphs = pieces(text, "\n\n");
  if (paragraphs.size() > 1 && repeats(paragraphs)) return "repeated_paragraphs";
  return repeats_phrases(words) ? "repeated_phrases" : nullptr;
}

const char* code_problem(std::string_view text) {
  std::size_t n_lines = 0, longest = 0, letters = 0;
  for (std::string_view rest = text; !rest.empty(); ++n_lines) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    longest = std::max(longest, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    letters += byte >= 0x80 || std::isalnum(byte) != 0;
  }
  if (longest > 1000 || text.size() > 100 * n_lines) return "long_lines";
  return letters * 4 < text.size() ? "few_letters" : nullptr;
}

}  // namespace moebox::data

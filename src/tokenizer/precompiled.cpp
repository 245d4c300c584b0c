// Reading and applying a precompiled character map.
#include "tokenizer/precompiled.h"

#include <cstring>

#include <fmt/core.h>
#include <utf8proc.h>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr std::size_t kMaxRuleBytes = 256;  // of a left side; those of SentencePiece's own maps have a few characters

// The parts of a unit of the double array.
constexpr bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
constexpr std::uint32_t label(std::uint32_t unit) { return unit & (0x80000000u | 0xFFu); }
constexpr std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
constexpr std::uint32_t leaf_value(std::uint32_t unit) { return unit & 0x7FFFFFFFu; }

class PrecompiledNormalizer final : public Normalizer {
 public:
  explicit PrecompiledNormalizer(CharacterMap map) : map_(std::move(map)) {}

  bool apply(std::string_view text, std::string& out, MatchBudget& budget) const override {
    const std::size_t before = out.size();
    bool changed = false;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = cluster_length(text.substr(at));
      const std::string_view cluster = text.substr(at, length);
      at += length;
      if (length < 6) {
        if (const auto rule = map_.shortest(cluster)) {
          budget.produce(rule->replacement.size());
          out.append(rule->replacement);
          changed = true;
          continue;
        }
      }
      for (std::size_t i = 0, n; i < cluster.size(); i += n) {
        n = static_cast<std::size_t>(utf8::length(cluster[i]));
        const auto rule = map_.shortest(cluster.substr(i, n));
        const std::string_view part = rule ? rule->replacement : cluster.substr(i, n);
        budget.produce(part.size());
        out.append(part);
        changed |= rule.has_value();
      }
    }
    if (!changed) out.resize(before);
    if (changed && utf8::valid_prefix(std::string_view(out).substr(before)) != out.size() - before) {  // a hostile map
      const std::string valid = utf8::replace_invalid(std::string_view(out).substr(before));
      out.replace(before, std::string::npos, valid);
    }
    return changed;
  }

 private:
  /// Bytes of the grapheme cluster that `text` begins with.
  static std::size_t cluster_length(std::string_view text) {
    auto length = static_cast<std::size_t>(utf8::length(text[0]));
    auto last = static_cast<utf8proc_int32_t>(utf8::decode(text.data()));
    utf8proc_int32_t state = 0;
    while (length < text.size()) {
      const auto next = static_cast<utf8proc_int32_t>(utf8::decode(text.data() + length));
      if (utf8proc_grapheme_break_stateful(last, next, &state)) break;
      length += static_cast<std::size_t>(utf8::length(text[length]));
      last = next;
    }
    return length;
  }

  CharacterMap map_;
};

}  // namespace

CharacterMap::CharacterMap(std::string_view blob, std::string_view where) {
  std::uint32_t trie_bytes = 0;
  if (blob.size() >= sizeof trie_bytes) std::memcpy(&trie_bytes, blob.data(), sizeof trie_bytes);
  if (blob.size() < sizeof trie_bytes || trie_bytes > blob.size() - sizeof trie_bytes || trie_bytes % 4 != 0 ||
      trie_bytes == 0) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("the character map of {} bytes declares a trie of {} bytes", blob.size(), trie_bytes),
                std::string(where));
  }
  blob.remove_prefix(sizeof trie_bytes);
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data(), trie_bytes);
  replacements_ = blob.substr(trie_bytes);
}

std::optional<CharacterMap::Rule> CharacterMap::find(std::string_view text, bool shortest) const noexcept {
  std::optional<Rule> found;
  text = text.substr(0, kMaxRuleBytes);  // a hostile trie may lead in a circle
  std::size_t node = offset(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    const std::size_t begin = leaf_value(units_[node]);
    if (begin > replacements_.size()) break;
    const std::size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    found = Rule{i + 1, std::string_view(replacements_).substr(begin, end - begin)};
    if (shortest) break;
  }
  return found;
}

std::unique_ptr<Normalizer> precompiled_normalizer(std::string blob, std::string_view where) {
  return std::make_unique<PrecompiledNormalizer>(CharacterMap(blob, where));
}

std::string decode_base64(std::string_view text, std::string_view where) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int have = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) throw Error(ErrorKind::invalid_file, "expected base64", std::string(where));
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<char>(bits >> have & 0xFF));
    }
  }
  return out;
}

}  // namespace moebox

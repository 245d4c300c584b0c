#include "tokenizer/pre_tokenizer_name.h"

#include <deque>
#include <string>
#include <vector>

#include "tokenizer/byte_level.h"
#include "tokenizer/json_components.h"
#include "tokenizer/named_pre_tokenizer.h"

namespace moebox {
namespace {

// Contractions in both cases, numbers of every length and script, runs of blanks and line ends, punctuation next to
// letters, capitals inside words, ideographs, kana, Hangul, combining marks, full-width forms, ends of texts.
constexpr std::string_view probes[] = {
    "I'm sure they'll say WE'VE 'S'nt don't CAN'T it's 'tis l'eau",
    "1 12 123 1234 12345 1234567 3.14159 0x1F 1e-9 2nd A4 v2 \u00bd \u2153 \u0663\u0664\u0665\u0666 "
    "\u096a\u096b\u096c\u096d \u2167\u2168",
    "a  b   c    d\te\t\tf \n g\n\nh \r\n\r\n i\n   j   \n\n   k \u00a0\u2003\u3000 l",
    "Hello, world!!! (foo)_bar__baz --x ++y ==z a/b/c //d #!e @f $g 10% $5 \u20ac6 <|im_end|> </s> [INST] {\"k\": [1, "
    "2]}",
    "camelCaseWords HTTPServer XMLHttpRequest iPhone McDonald USAs \u00c9cole \u00dcberGro\u00dfe \u01c5ungla "
    "\u041c\u043e\u0441\u043a\u0432\u0430\u0413\u043e\u0440\u043e\u0434",
    "\u4f60\u597d\u4e16\u754c\u3002\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4 "
    "abc\u4e2d\u6587def 12\u6708 \u3400\u9fff",
    "e\u0301\u0327 a\u0308b \u0e01\u0e33\u0e25\u0e31\u0e07 \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\u0627\u0644\u0639\u0631\u0628\u064a\u064e\u0651\u0629 \u05e9\u05dc\u05d5\u05dd",
    "\uff21\uff22\uff01\uff1f\uff08\uff11\uff12\uff09 \u201cq\u201d \u2018r\u2019 \u2026 \u2014 \u00ab s \u00bb "
    "$+<=>^~|` \u00ac\u00b1 \u2211x\u2208\u211d",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea \U00010400\U00010428",
    "   lead",
    "trail   ",
    "\n",
};

/// The pieces of all probes, each after a mark that no text has.
template <class Cut>
std::string pieces_of(Cut&& cut) {
  std::string out;
  for (const std::string_view probe : probes) {
    out += '\xff';
    cut(probe, [&](std::string_view piece) { out.append(piece).append(1, '\xfe'); });
  }
  return out;
}

std::string cut_all(const Normalizer* normalizer, const PreTokenizer& pre_tokenizer) {
  return pieces_of([&](std::string_view text, const PreTokenizer::Sink& sink) {
    MatchBudget budget(text.size());
    std::deque<std::string> kept;
    std::string normal;
    if (normalizer != nullptr && normalizer->apply(text, normal, budget)) text = normal;
    pre_tokenizer.split(text, true, budget, kept, sink);
  });
}

}  // namespace

std::optional<std::string_view> gguf_pre_tokenizer(const TokenizerJson& tokenizer) {
  const auto at = [](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() ? nlohmann::json() : *found;
  };
  const auto normalizer = make_normalizer(at(tokenizer.document, "normalizer"));
  const JsonPreTokenizer pre = make_pre_tokenizer(at(tokenizer.document, "pre_tokenizer"));
  const nlohmann::json flag = at(at(tokenizer.document, "model"), "ignore_merges");
  const bool ignore_merges = flag.is_boolean() && flag.get<bool>();
  const std::string wanted = cut_all(normalizer.get(), pre.pre_tokenizer);
  for (const std::string_view name : pre_tokenizer_names()) {
    const NamedPreTokenizer named = make_named_pre_tokenizer(name);
    if (named.ignore_merges == ignore_merges && cut_all(named.normalizer.get(), named.pre_tokenizer) == wanted)
      return name;
  }
  return std::nullopt;
}

}  // namespace moebox

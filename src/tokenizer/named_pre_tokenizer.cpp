// The table of named pre-tokenizers. The expressions are the models' own, from their tokenizer.json; the names and
// their meaning are those of the GGUF converter of llama.cpp.
#include "tokenizer/named_pre_tokenizer.h"

#include <string>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox {
namespace {

// Contractions, words with a leading mark or space, numbers, punctuation, line ends, white space: the common family.
#define MOEBOX_WORDS(number)                                         \
  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" number \
  R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
// Words that end where a capital follows a small letter.
#define MOEBOX_CASED_WORDS(suffix, number)                                                             \
  R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)" suffix             \
  R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)" suffix "|" number \
  R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"

constexpr const char* kWords1 = MOEBOX_WORDS(R"(\p{N})");
constexpr const char* kWords3 = MOEBOX_WORDS(R"(\p{N}{1,3})");
constexpr const char* kGpt4o = MOEBOX_CASED_WORDS(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)", R"(\p{N}{1,3})");
constexpr const char* kTekken = MOEBOX_CASED_WORDS("", R"(\p{N})");
#undef MOEBOX_WORDS
#undef MOEBOX_CASED_WORDS

constexpr const char* kNumbers3 = R"(\p{N}{1,3})";
constexpr const char* kDigit = R"(\p{N})";
constexpr const char* kLineEnd = R"([\r\n])";
constexpr const char* kIdeographs = "[一-龥぀-ゟ゠-ヿ]+";
constexpr const char* kIdeographsAndMore = "[一-龥ࠀ-一가-퟿]+";
constexpr const char* kDeepSeekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";

struct Entry {
  std::vector<std::string_view> names;
  std::vector<const char*> expressions;  // one split after the other, every match and every rest its own piece
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> table = {
      {.names = {"default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "modern-bert", "gigachat", "mellum",
                 "a.x-4.0", "trillion", "granite-docling"},
       .expressions = {kGpt2Regex}},
      {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
       .expressions = {kDigit, kGpt2Regex}},
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       .expressions = {kWords3},
       .ignore_merges = true,
       .add_bos = true},
      {.names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, .expressions = {kWords3}},
      {.names = {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"}, .expressions = {kWords1}, .nfc = true},
      {.names = {"stablelm2", "hunyuan", "solar-open", "grok-2"}, .expressions = {kWords1}},
      {.names = {"deepseek-llm"},
       .expressions = {kLineEnd, kDeepSeekLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kIdeographsAndMore,
                       R"(\p{N}+)"}},
      {.names = {"deepseek-coder"},
       .expressions = {kLineEnd, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kIdeographsAndMore, kDigit}},
      {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm"}, .expressions = {kNumbers3, kIdeographs, kDeepSeekV3}},
      {.names = {"gpt-4o", "llama4", "kanana2", "minimax-m2"}, .expressions = {kGpt4o}},
      {.names = {"tekken"}, .expressions = {kTekken}, .ignore_merges = true, .add_bos = true},
      {.names = {"falcon"}, .expressions = {R"([\p{P}$+<=>^~|`]+)", kGpt2Regex, "[0-9][0-9][0-9]"}},
  };
  return table;
}

std::string known_names() {
  std::string names;
  for (const Entry& entry : entries()) {
    for (const std::string_view name : entry.names) names.append(names.empty() ? "" : ", ").append(name);
  }
  return names;
}

}  // namespace

NamedPreTokenizer make_named_pre_tokenizer(std::string_view name) {
  for (const Entry& entry : entries()) {
    for (const std::string_view known : entry.names) {
      if (known != name) continue;
      std::vector<std::unique_ptr<SplitStep>> steps;
      for (const char* expression : entry.expressions) {
        steps.push_back(pattern_step(compile_regex(expression, name), SplitBehavior::isolated, false));
      }
      return {PreTokenizer(std::move(steps)), entry.nfc ? form_normalizer(NormalForm::nfc) : nullptr,
              entry.ignore_merges, entry.add_bos};
    }
  }
  throw Error(ErrorKind::unsupported, fmt::format("the pre-tokenizer '{}' is not supported", name.substr(0, 100)),
              "tokenizer.ggml.pre", "supported are: " + known_names());
}

}  // namespace moebox

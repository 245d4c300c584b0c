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
constexpr const char* kAnyNumber = "";  // the step "Digits", whose numbers are those of a newer Unicode than \p{N}'s
constexpr const char* kLineEnd = R"([\r\n])";
constexpr const char* kIdeographs = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kIdeographsAndMore = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr const char* kDeepSeekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The cased letters, as that model's author lists them.
constexpr const char* kDeepSeekLetters =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE})"
    R"(\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC})"
    R"(\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E})"
    R"(\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})"
    R"(]+)";

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
       .expressions = {kAnyNumber, kGpt2Regex}},
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       .expressions = {kWords3},
       .ignore_merges = true,
       .add_bos = true},
      {.names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, .expressions = {kWords3}},
      {.names = {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"}, .expressions = {kWords1}, .nfc = true},
      {.names = {"stablelm2", "hunyuan", "solar-open", "grok-2"}, .expressions = {kWords1}},
      {.names = {"deepseek-llm"},
       .expressions = {kLineEnd, kDeepSeekLetters,
                       R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)", R"(\s+$)",
                       kIdeographsAndMore, R"(\p{N}+)"}},
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

std::vector<std::string_view> pre_tokenizer_names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : entries()) names.push_back(entry.names[entry.names[0] == "default" ? 1 : 0]);
  return names;
}

namespace {

const Entry& find_entry(std::string_view name) {
  for (const Entry& entry : entries()) {
    for (const std::string_view known : entry.names)
      if (known == name) return entry;
  }
  throw Error(ErrorKind::unsupported, fmt::format("the pre-tokenizer '{}' is not supported", name.substr(0, 100)),
              "tokenizer.ggml.pre", "supported are: " + known_names());
}

}  // namespace

NamedPreTokenizer make_named_pre_tokenizer(std::string_view name) {
  const Entry& entry = find_entry(name);
  std::vector<std::unique_ptr<SplitStep>> steps;
  for (const char* expression : entry.expressions) {
    auto pattern = expression == kAnyNumber ? character_pattern(number_characters()) : compile_regex(expression, name);
    steps.push_back(pattern_step(std::move(pattern), SplitBehavior::isolated, false));
  }
  return {PreTokenizer(std::move(steps)), entry.nfc ? form_normalizer(NormalForm::nfc) : nullptr, entry.ignore_merges,
          entry.add_bos};
}

PreTokenizerSpec named_pre_tokenizer_spec(std::string_view name) {
  const Entry& entry = find_entry(name);
  PreTokenizerSpec spec;
  for (const char* expression : entry.expressions) spec.steps.push_back({expression});
  spec.nfc = entry.nfc;
  return spec;
}

}  // namespace moebox

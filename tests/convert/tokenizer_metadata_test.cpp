// Tokenizers through GGUF and back: the same ids as the folder's own tokenizer, and names for pre-tokenizers.
#include "convert/tokenizer_metadata.h"

#include <gtest/gtest.h>

#include "io/io_testing.h"
#include "models/golden_data.h"
#include "tokenizer/pre_tokenizer_name.h"
#include "tokenizer/tokenizer.h"

namespace moebox::test {
namespace {

const std::filesystem::path tokenizers = golden_dir() / "tokenizer";

/// A Hugging Face folder with a tokenizer and next to no model.
class TokenizerFolder {
 public:
  TokenizerFolder() {
    write_file(folder_ / "config.json", R"({"eos_token_id": 2, "bos_token_id": 1})");
    write_file(folder_ / "model.safetensors",
               safetensors_file(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  }
  void add(const std::string& name, std::string_view text) const { write_file(folder_ / name, text); }
  Checkpoint open() const { return Checkpoint::open(folder_.path()); }

  /// What a GGUF file with this tokenizer's metadata is loaded as.
  Checkpoint gguf(std::int64_t n_rows) const {
    GgufHeader header;
    header.set_string("general.architecture", "x");
    EXPECT_TRUE(set_tokenizer(header, open(), n_rows));
    OutputFile file(folder_ / "t.gguf", true);
    GgufStream(file, header).finish();
    file.commit();
    return Checkpoint::open(folder_ / "t.gguf");
  }

 private:
  TemporaryFolder folder_;
};

const std::vector<std::string> sentences = {
    "Hello world",
    "The quick brown fox jumps over 13 lazy dogs.",
    "  leading and   many spaces",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x91\x8b",
    "int main() { return 0; }\n\n\ttabs",
    "a",
};

void expect_same_ids(const TokenizerFolder& folder, std::int64_t extra_rows) {
  const auto before = Tokenizer::load(folder.open());
  const auto after = Tokenizer::load(folder.gguf(before->vocab_size() + extra_rows));
  EXPECT_EQ(after->vocab_size(), before->vocab_size() + extra_rows);
  for (const bool special : {false, true})
    for (const std::string& text : sentences) {
      EXPECT_EQ(after->encode(text, special), before->encode(text, special)) << text;
      EXPECT_EQ(after->decode(before->encode(text, false)), before->decode(before->encode(text, false))) << text;
    }
  EXPECT_EQ(after->special().bos, before->special().bos ? before->special().bos : std::optional<TokenId>(1));
  for (TokenId id = 0; id < before->vocab_size(); ++id)
    if (!before->token_text(id).empty()) {
      ASSERT_EQ(after->token_kind(id), before->token_kind(id)) << id;
    }
}

TEST(TokenizerMetadata, SentencePieceModels) {
  for (const char* name : {"small_bpe.model", "small_unigram.model"}) {
    SCOPED_TRACE(name);
    const TokenizerFolder folder;
    folder.add("tokenizer.model", read_file(tokenizers / name));
    expect_same_ids(folder, 0);
    expect_same_ids(folder, 3);
  }
}

// tests/golden/convert/unigram.json: what Hugging Face's tokenizers make of texts in several languages.
TEST(TokenizerMetadata, UnigramModelsOfATokenizerJson) {
  const auto golden = read_json(golden_dir() / "convert" / "unigram.json");
  const auto texts = golden.at("texts").get<std::vector<std::string>>();
  for (const auto& entry : golden.at("cases")) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const TokenizerFolder folder;
    folder.add("tokenizer.json", entry.at("tokenizer").dump());
    folder.add("tokenizer_config.json", R"({"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})");
    const auto n_tokens = static_cast<std::int64_t>(entry.at("tokenizer").at("model").at("vocab").size());
    if (!entry.at("convertible").get<bool>()) {
      GgufHeader header;
      expect_error(ErrorKind::unsupported, {"normalizer", "pre_tokenizer", "tokenizer.model"},
                   [&] { set_tokenizer(header, folder.open(), n_tokens); });
      continue;
    }
    const Checkpoint file = folder.gguf(n_tokens + 2);
    EXPECT_EQ(file.string("tokenizer.ggml.model"), "t5");
    const auto tokenizer = Tokenizer::load(file);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer->encode(texts[i]), entry.at("plain").at(i).get<std::vector<TokenId>>()) << texts[i];
      EXPECT_EQ(tokenizer->encode(texts[i], true), entry.at("whole").at(i).get<std::vector<TokenId>>()) << texts[i];
    }
  }
}

/// A byte-level tokenizer of this pre-tokenizer and normaliser, with the 256 bytes and a few merges.
std::string byte_level_json(const std::string& pre, const std::string& normalizer, bool ignore_merges) {
  nlohmann::ordered_json vocab;
  const auto add = [&](const std::string& text) { vocab[text] = vocab.size(); };
  const auto utf8 = [](int code) {
    if (code < 128) return std::string(1, static_cast<char>(code));
    return std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  };
  // GPT-2's byte map: bytes that can be seen stand for themselves, the others for 256 and up.
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    add(utf8(seen ? byte : next++));
  }
  const std::pair<std::string, std::string> merges[] = {{"h", "e"},  {"l", "l"}, {"\u0120", "t"}, {"\u0120", "w"},
                                                        {"ll", "o"}, {"o", "r"}, {"he", "llo"},   {"\u0120t", "he"}};
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [left, right] : merges) {
    add(left + right);
    list.push_back(left + " " + right);
  }
  add("plain");
  nlohmann::ordered_json json = {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", vocab.size()}, {"content", "<|end|>"}, {"special", true}},
        {{"id", vocab.size() + 1}, {"content", "<note>"}, {"special", false}}}},
      {"normalizer", nlohmann::ordered_json::parse(normalizer)},
      {"pre_tokenizer", nlohmann::ordered_json::parse(pre)},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}, {"ignore_merges", ignore_merges}}}};
  return json.dump();
}

struct NamedCase {
  const char* name;
  std::string pre;
  const char* normalizer = "null";
  bool ignore_merges = false;
};

const std::string byte_level_alone = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})";
std::string split_then_bytes(const std::vector<std::string>& expressions) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& regex : expressions)
    list.push_back({{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  list.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  return nlohmann::json{{"type", "Sequence"}, {"pretokenizers", list}}.dump();
}
/// As the models' own files spell it: one digit, or up to three.
std::string word_regex(const std::string& number) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + number +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

const NamedCase named_cases[] = {
    {"gpt-2", byte_level_alone},
    {"smollm", R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, )" +
                   byte_level_alone + "]}"},
    {"qwen2", split_then_bytes({word_regex(R"(\p{N})")}), R"({"type": "NFC"})"},
    {"stablelm2", split_then_bytes({word_regex(R"(\p{N})")})},
    {"llama-bpe", split_then_bytes({word_regex(R"(\p{N}{1,3})")}), "null", true},
    {"dbrx", split_then_bytes({word_regex(R"(\p{N}{1,3})")})},
    {"deepseek-v3",
     split_then_bytes(
         {R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
          R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"})},
};

TEST(TokenizerMetadata, PreTokenizersAreFoundByWhatTheyDo) {
  for (const NamedCase& entry : named_cases) {
    SCOPED_TRACE(entry.name);
    const std::string json = byte_level_json(entry.pre, entry.normalizer, entry.ignore_merges);
    EXPECT_EQ(gguf_pre_tokenizer(read_tokenizer_json(json)), entry.name);
    const TokenizerFolder folder;
    folder.add("tokenizer.json", json);
    expect_same_ids(folder, 5);
  }
}

TEST(TokenizerMetadata, RefusesAPreTokenizerWithoutAName) {
  const TokenizerFolder folder;
  folder.add("tokenizer.json", byte_level_json(split_then_bytes({"[aeiou]+"}), "null", false));
  GgufHeader header;
  expect_error(ErrorKind::unsupported, {"pre_tokenizer"}, [&] { set_tokenizer(header, folder.open(), 1000); });
}

TEST(TokenizerMetadata, RefusesMoreTokensThanRows) {
  const TokenizerFolder folder;
  folder.add("tokenizer.model", read_file(tokenizers / "small_bpe.model"));
  GgufHeader header;
  expect_error(ErrorKind::invalid_file, {"10 rows"}, [&] { set_tokenizer(header, folder.open(), 10); });
}

TEST(TokenizerMetadata, TemplatesComeAlong) {
  const TokenizerFolder folder;
  folder.add("tokenizer.model", read_file(tokenizers / "small_bpe.model"));
  folder.add("tokenizer_config.json",
             R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  const Checkpoint both = folder.gguf(5000);
  EXPECT_EQ(both.string("tokenizer.chat_template"), "D");
  EXPECT_EQ(both.string("tokenizer.chat_template.tool_use"), "T");
  folder.add("chat_template.jinja", "J");
  EXPECT_EQ(folder.gguf(5000).string("tokenizer.chat_template"), "J");
}

TEST(TokenizerMetadata, AFolderWithoutATokenizerSaysSo) {
  const TokenizerFolder folder;
  GgufHeader header;
  EXPECT_FALSE(set_tokenizer(header, folder.open(), 10));
  EXPECT_TRUE(header.has("tokenizer.ggml.model"));
}

}  // namespace
}  // namespace moebox::test

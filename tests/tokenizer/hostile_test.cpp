// Tokenizer files that lie, and texts that are made to be slow.
#include <chrono>

#include <gtest/gtest.h>

#include "base/error.h"
#include "golden.h"
#include "io/checkpoint.h"
#include "speed.h"
#include "tokenizer/pattern.h"
#include "tokenizer/tokenizer_json.h"

namespace moebox {
namespace {

using nlohmann::json;

/// What `make` throws: the kind, the place and the message; fails when it throws nothing or something else.
template <class Make>
std::string thrown(Make&& make) {
  try {
    make();
  } catch (const Error& error) {
    return std::string(name(error.kind())) + " | " + error.where() + " | " + error.message();
  } catch (const std::exception& error) {
    return std::string("not an Error: ") + error.what();
  }
  return "nothing was thrown";
}

#define EXPECT_THROWS(kind, words, expression)              \
  do {                                                      \
    const std::string what = thrown([&] { expression; });   \
    EXPECT_TRUE(what.starts_with(kind)) << what;            \
    EXPECT_NE(what.find(words), std::string::npos) << what; \
  } while (false)

json small() {
  return json::parse(
      R"({"added_tokens": [{"id": 4, "content": "<s>", "special": true}], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<unk>": 3}, "merges": ["a b"], "unk_token": "<unk>"}})");
}

std::shared_ptr<const Tokenizer> from(const json& document) { return Tokenizer::from_json(document.dump()); }

TEST(HostileJson, TheSmallOneIsFine) { EXPECT_EQ(from(small())->encode("abc"), (std::vector<TokenId>{2, 3})); }

TEST(HostileJson, Malformed) {
  EXPECT_THROWS("invalid_file", "expected JSON", Tokenizer::from_json(""));
  EXPECT_THROWS("invalid_file", "expected JSON", Tokenizer::from_json("{\"model\": {\"vocab\": {\"a\": 0"));
  EXPECT_THROWS("invalid_file", "expected JSON", Tokenizer::from_json("{\"a\": \"\xFF\xC0\"}"));
  EXPECT_THROWS("invalid_file", "JSON object", Tokenizer::from_json("[]"));
  EXPECT_THROWS("invalid_file", "'model'", Tokenizer::from_json("{}"));
  EXPECT_THROWS("invalid_file", "'model'", Tokenizer::from_json(R"({"model": 1})"));
  EXPECT_THROWS("invalid_file", "'vocab'", Tokenizer::from_json(R"({"model": {"type": "BPE"}})"));
}

TEST(HostileJson, DeepNestingIsRefusedEarly) {
  EXPECT_THROWS("resource", "nested", Tokenizer::from_json(std::string(5'000'000, '[')));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_THROWS("resource", "nested", Tokenizer::from_json(objects));
  json deep = {{"type", "Sequence"}, {"normalizers", json::array()}};
  for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  json document = small();
  document["normalizer"] = deep;
  EXPECT_THROWS("resource", "nested", from(document));
}

TEST(HostileJson, AKeyThatComesTwice) {
  EXPECT_THROWS("invalid_file", "twice",
                Tokenizer::from_json(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "vocab": {"b": 0}}})"));
  EXPECT_THROWS("invalid_file", "twice",
                Tokenizer::from_json(R"({"model": {"type": "BPE", "merges": [], "vocab": {"a": 0}, "merges": []}})"));
  EXPECT_THROWS("invalid_file", "twice",
                Tokenizer::from_json(R"({"normalizer": null, "normalizer": {"type": "NFC"}})"));
  EXPECT_THROWS("invalid_file", "same text",
                Tokenizer::from_json(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})"));
}

TEST(HostileJson, Ids) {
  for (const char* id : {"-1", "2097152", "4294967296", "18446744073709551615", "1e300", "0.5"}) {
    EXPECT_THROWS(
        "invalid_file", "id",
        Tokenizer::from_json(std::string(R"({"model": {"type": "BPE", "vocab": {"a": )") + id + "}, \"merges\": []}}"));
  }
  EXPECT_THROWS("invalid_file", "same id",
                Tokenizer::from_json(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})"));
  json document = small();
  document["added_tokens"][0]["id"] = 1;
  EXPECT_THROWS("invalid_file", "'<s>' has the id 1 of the token 'b'", from(document));
  document["added_tokens"][0]["id"] = -4;
  EXPECT_THROWS("invalid_file", "expected an id", from(document));
  document["added_tokens"][0]["id"] = 1ull << 31;
  EXPECT_THROWS("invalid_file", "expected an id", from(document));
  document = small();
  document["post_processor"] = json::parse(
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "special_tokens": {"x": {"ids": [99]}}})");
  EXPECT_THROWS("invalid_file", "id of a token", from(document));
}

TEST(HostileJson, Shapes) {
  const auto with_model = [](const char* model) { return std::string(R"({"model": )") + model + "}"; };
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": {"a": "b"}})")));
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": {"a": [1]}})")));
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": {"a": null}})")));
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": [["a"]]})")));
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": [["a", 1, 2]]})")));
  EXPECT_THROWS("invalid_file", "model.vocab", Tokenizer::from_json(with_model(R"({"vocab": [[1, "a"]]})")));
  EXPECT_THROWS("invalid_file", "shape", Tokenizer::from_json(with_model(R"({"type": "Unigram", "vocab": {"a": 1}})")));
  EXPECT_THROWS("invalid_file", "model.merges",
                Tokenizer::from_json(with_model(R"({"vocab": {"a": 0}, "merges": ["a"]})")));
  EXPECT_THROWS("invalid_file", "model.merges",
                Tokenizer::from_json(with_model(R"({"vocab": {"a": 0}, "merges": [["a", "b", "c"]]})")));
  EXPECT_THROWS("invalid_file", "model.merges",
                Tokenizer::from_json(with_model(R"({"vocab": {"a": 0}, "merges": [[["a"], "b"]]})")));
  EXPECT_THROWS("invalid_file", "model.merges[0]",
                Tokenizer::from_json(with_model(R"({"vocab": {"a": 0, "b": 1}, "merges": ["a b"]})")));
  EXPECT_THROWS("unsupported", "WordPiece",
                Tokenizer::from_json(with_model(R"({"type": "WordPiece", "vocab": {"a": 0}})")));
  EXPECT_THROWS("invalid_file", "expected JSON",
                Tokenizer::from_json(with_model(R"({"type": "Unigram", "unk_id": 0, "vocab": [["a", 1e999]]})")));
  EXPECT_THROWS("invalid_file", "unknown token",
                Tokenizer::from_json(with_model(R"({"type": "Unigram", "vocab": [["a", 1]]})")));
  EXPECT_THROWS("invalid_file", "model.unk_token",
                Tokenizer::from_json(with_model(R"({"vocab": {"a": 0}, "unk_token": "zz"})")));
  json document = small();
  document["added_tokens"][0]["content"] = std::string(513, 'x');
  EXPECT_THROWS("invalid_file", "513 bytes", from(document));
}

TEST(HostileJson, RegularExpressions) {
  json document = small();
  const auto with_regex = [&](const std::string& regex) {
    document["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
    return from(document);
  };
  EXPECT_THROWS("invalid_file", "does not compile", with_regex("(a"));
  EXPECT_THROWS("unsupported", "[:", with_regex("[[:alpha:]]"));
  EXPECT_THROWS("invalid_file", "does not compile", with_regex(std::string(100, '(') + std::string(100, ')')));
  EXPECT_THROWS("resource", "bytes", with_regex(std::string(100000, 'a')));
  EXPECT_THROWS("invalid_file", "does not compile", with_regex("((a{1000}){1000}){1000}"));
  // Compiles well, and needs exponential time.
  const std::string text = std::string(5000, 'a') + "bc";
  for (const char* regex :
       {"(a+)+$", "(a|a)*c", "(?:a|aa)+$", "(.*a){12}c",
        "(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)(a?)c"}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THROWS("resource", "regular expression", with_regex(regex)->encode(text));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60)) << regex;
  }
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"content", ""}};
  document["pre_tokenizer"] = nullptr;
  EXPECT_THROWS("resource", "regular expression", from(document)->encode(text));
}

TEST(HostileJson, TextsThatGrow) {
  json document = small();
  json grow = json::array();
  for (int i = 0; i < 6; ++i)
    grow.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(200, 'a')}});
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", grow}};
  EXPECT_THROWS("resource", "too long", from(document)->encode("aaaa"));
}

// Each step by itself makes a modest text; all of them together would fill the memory.
TEST(HostileJson, TextsThatGrowStepByStep) {
  const auto grows = [](const char* part, const json& steps) {
    json document = small();
    document[part] = {{"type", "Sequence"},
                      {std::string(part) == "normalizer" ? "normalizers" : "pretokenizers", steps}};
    EXPECT_THROWS("resource", "too long", from(document)->encode(std::string(1000, 'a') + " é <s>b\n", false, true));
  };
  json steps = json::array();
  for (int i = 0; i < 20; ++i)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaa"}});
  grows("normalizer", steps);
  steps = json::array();
  for (int i = 0; i < 60; ++i) steps.push_back({{"type", "Prepend"}, {"prepend", std::string(256, 'x')}});
  json document = small();
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "a<s>";
  EXPECT_THROWS("resource", "too long", from(document)->encode(many, false, true));
  steps = json::array();  // every byte that is no letter becomes two, again and again
  for (int i = 0; i < 40; ++i)
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  grows("pre_tokenizer", steps);
}

TEST(HostileJson, TokensThatGrowInTheDecoder) {
  json document = small(), steps = json::array();
  for (int i = 0; i < 30; ++i)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaa"}});
  document["decoder"] = {{"type", "Sequence"}, {"decoders", steps}};
  EXPECT_THROWS("resource", "the decoder makes more than", from(document));
}

TEST(HostileJson, AddedTokensThatComeTwice) {
  json document = small();
  document["added_tokens"].push_back({{"id", 4}, {"content", "<s>"}, {"special", false}});
  EXPECT_THROWS("invalid_file", "two added tokens have the id 4", from(document));
}

// A text of white space, and tokens that take the white space behind them: in linear time.
TEST(HostileJson, AddedTokensInWhiteSpace) {
  json document = small();
  document["added_tokens"].push_back(
      {{"id", 5}, {"content", " "}, {"special", false}, {"rstrip", true}, {"lstrip", true}});
  document["added_tokens"].push_back({{"id", 6}, {"content", "\n"}, {"special", false}, {"rstrip", true}});
  const auto tokenizer = from(document);
  std::string text;
  while (text.size() < 2'000'000) text += text.size() % 7 == 0 ? '\n' : ' ';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer->encode(text).size(), text.size());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60)) << "quadratic time would be an hour";
}

// An unknown character must not become a token that steers the model.
TEST(HostileJson, AControlTokenAsTheUnknownToken) {
  json document = small();
  document["model"]["unk_token"] = "<s>";
  const auto tokenizer = from(document);
  EXPECT_EQ(tokenizer->token_kind(4), TokenKind::control);
  EXPECT_EQ(tokenizer->encode("a?a"), (std::vector<TokenId>{0, 0}));
  document["added_tokens"].push_back({{"id", 3}, {"content", "<unk>"}, {"special", true}});
  document["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(from(document)->token_kind(3), TokenKind::unknown);
  EXPECT_EQ(from(document)->encode("a?b"), (std::vector<TokenId>{0, 3, 1}));
}

TEST(HostileJson, CharacterMaps) {
  json document = small();
  const auto with_map = [&](const std::string& base64) {
    document["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
    return from(document);
  };
  EXPECT_THROWS("invalid_file", "base64", with_map("!!!!"));
  EXPECT_THROWS("invalid_file", "declares a trie", with_map(""));
  EXPECT_THROWS("invalid_file", "declares a trie", with_map("/////w=="));      // 4 GiB - 1 of trie
  EXPECT_THROWS("invalid_file", "declares a trie", with_map("CAAAAAAAAAA="));  // 8 bytes of trie, 4 there
  // A trie in which 'a' leads back to itself: not followed to the end of the text for every character of it.
  const auto circle = with_map("CAAAAACAAQBhhAEA");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(circle->encode(std::string(2'000'000, 'a')).size(), 2'000'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(120)) << "quadratic time would be an hour";
  // One unit whose links lead anywhere: followed with care.
  EXPECT_EQ(with_map("BAAAAP////8=")->encode("ab"), (std::vector<TokenId>{2}));
}

TEST(HostileModel, Malformed) {
  const std::string good = test::read_file(test::golden_path("small_unknown.model"));
  EXPECT_NO_THROW(Tokenizer::from_sentencepiece(good));
  EXPECT_THROWS("invalid_file", "no pieces", Tokenizer::from_sentencepiece(""));
  EXPECT_THROWS("invalid_file", "", Tokenizer::from_sentencepiece("\x0A\xFF\xFF\xFF\xFF\x0F"));  // 4 GiB of piece
  EXPECT_THROWS("invalid_file", "too many bytes",
                Tokenizer::from_sentencepiece(std::string(11, '\xFF')));              // a number without end
  EXPECT_THROWS("invalid_file", "wire type", Tokenizer::from_sentencepiece("\x0B"));  // a group
  EXPECT_THROWS("invalid_file", "empty",
                Tokenizer::from_sentencepiece(std::string("\x0A\x00", 2)));  // a piece without text
  EXPECT_THROWS("invalid_file", "not a string",
                Tokenizer::from_sentencepiece(std::string("\x08\x01", 2)));  // a number for a piece
  EXPECT_THROWS("invalid_file", "unknown type",
                Tokenizer::from_sentencepiece("\x0A\x05\x0A\x01"
                                              "a\x18\x63"));  // type 99
  EXPECT_THROWS("invalid_file", "same text",
                Tokenizer::from_sentencepiece("\x0A\x03\x0A\x01"
                                              "a\x0A\x03\x0A\x01"
                                              "a"));  // twice the same
  EXPECT_THROWS("invalid_file", "unknown token",
                Tokenizer::from_sentencepiece("\x0A\x03\x0A\x01"
                                              "a"));
  EXPECT_THROWS("invalid_file", "finite",
                Tokenizer::from_sentencepiece(std::string("\x0A\x08\x0A\x01"
                                                          "a\x15\x00\x00\xC0\x7F",
                                                          10)));
  EXPECT_THROWS("unsupported", "unigram and BPE",
                Tokenizer::from_sentencepiece(std::string("\x0A\x03\x0A\x01"
                                                          "a\x12\x02\x18\x03")));
}

TEST(HostileModel, EveryCutAndManyFlipsAreHarmless) {
  const std::string good = test::read_file(test::golden_path("small_unknown.model"));
  constexpr std::size_t step = test::slow_machine ? 5 : 1;
  for (std::size_t size = 0; size < good.size(); size += 7 * step) {
    try {
      Tokenizer::from_sentencepiece(std::string_view(good).substr(0, size))->encode("Hello 世界");
    } catch (const Error&) {
    }
  }
  for (std::size_t i = 0; i < good.size(); i += 11 * step) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    try {
      Tokenizer::from_sentencepiece(bad)->encode("Hello 世界");
    } catch (const Error&) {
    }
  }
}

// The worst texts there are for a BPE and its pre-tokenizer.
TEST(SlowTexts, AreNotQuadratic) {
  const auto load = [](const std::string& path) { return Tokenizer::load(Checkpoint::open(path)); };
  for (const auto& tokenizer :
       {load(test::model_path("smollm2-135m-instruct-q4_1.gguf")),
        load(test::model_path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")),
        Tokenizer::from_json(test::read_file(test::golden_path("small_bpe.json"))),
        Tokenizer::from_sentencepiece(test::read_file(test::golden_path("small_bpe.model"))),
        Tokenizer::from_sentencepiece(test::read_file(test::golden_path("small_unigram.model")))}) {
    for (const std::string& unit :
         {std::string("a"), std::string(" "), std::string("\n"), std::string("ab"), std::string("中"),
          std::string("\u0301"), std::string("<"), std::string("<|"), std::string("!"), std::string("1"),
          std::string("\xFF"), std::string("A"), std::string("'s"), std::string("\n ")}) {
      std::string text;
      while (text.size() < 400'000) text += unit;
      timespec start{}, stop{};
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
      const auto ids = tokenizer->encode(text, false, true);
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &stop);
      EXPECT_LE(ids.size(), 3 * text.size() + 3);  // a bad byte is U+FFFD, three bytes of it
      const double seconds =
          static_cast<double>(stop.tv_sec - start.tv_sec) + 1e-9 * static_cast<double>(stop.tv_nsec - start.tv_nsec);
      EXPECT_LT(seconds, 15) << unit << ": quadratic time would be minutes";
    }
  }
}

}  // namespace
}  // namespace moebox

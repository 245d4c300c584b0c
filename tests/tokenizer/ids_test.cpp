// Whole tokenizers against Hugging Face tokenizers and sentencepiece: ids of the documents of tests/golden/tokenizer.
#include <array>
#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "golden.h"
#include "io/checkpoint.h"
#include "speed.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

using nlohmann::json;

std::shared_ptr<const Tokenizer> load(const std::string& file) {
  const std::string path =
      std::filesystem::exists(test::golden_path(file)) ? test::golden_path(file) : test::model_path(file);
  if (file.ends_with(".json")) return Tokenizer::from_json(test::read_file(path));
  if (file.ends_with(".model")) return Tokenizer::from_sentencepiece(test::read_file(path));
  return Tokenizer::load(Checkpoint::open(path));
}

/// Encodes all documents and compares them with the answers kept under `golden`.
void compare(const std::string& file, const std::string& golden) {
  const auto tokenizer = load(file);
  const json answers = test::read_golden("ids.json")[golden];
  const auto& documents = test::documents();
  ASSERT_EQ(answers.size(), documents.size());
  int different = 0;
  // The references look for control tokens everywhere, sentencepiece nowhere.
  const bool trusted = !golden.ends_with(".model");
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto ids = tokenizer->encode(documents[i], false, trusted);
    const bool equal =
        ids.size() == answers[i][0].get<std::size_t>() && test::fnv1a(ids) == answers[i][1].get<std::string>();
    if (!equal && ++different <= 3) {
      ADD_FAILURE() << file << ": document " << i << " has " << ids.size() << " ids, expected " << answers[i][0] << ": "
                    << json(documents[i].substr(0, 300)).dump(-1, ' ', true, json::error_handler_t::replace);
    }
  }
  EXPECT_EQ(different, 0);
}

TEST(Ids, SmolLm2) { compare("smollm2-135m-instruct-q4_1.gguf", "smollm2-135m-instruct-q4_1.gguf"); }
TEST(Ids, Qwen25Coder) {
  compare("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
}
TEST(Ids, UnigramModel) { compare("small_unigram.model", "small_unigram.model"); }
TEST(Ids, UnigramGguf) { compare("small_unigram.gguf", "small_unigram.model"); }
TEST(Ids, UnigramJson) { compare("small_unigram.json", "small_unigram.json"); }
TEST(Ids, UnigramWithoutByteFallback) { compare("small_unknown.model", "small_unknown.model"); }
TEST(Ids, SentencePieceBpeModel) { compare("small_bpe.model", "small_bpe.model"); }
TEST(Ids, SentencePieceBpeGguf) { compare("small_bpe.gguf", "small_bpe.model"); }
TEST(Ids, SentencePieceBpeJson) { compare("small_bpe.json", "small_bpe.json"); }
TEST(Ids, ByteLevelJson) { compare("small_words.json", "small_words.json"); }

TEST(Ids, AddedTokensOfEveryKind) {
  const auto tokenizer = load("small_words.json");
  for (const json& one : test::read_golden("added.json")) {
    EXPECT_EQ(tokenizer->encode(one[0].get<std::string>(), true, true), one[1].get<std::vector<TokenId>>()) << one[0];
  }
}

// What goes in comes out: byte-level tokenizers lose nothing, but for normalisation.
TEST(Decode, RoundTrip) {
  const auto tokenizer = load("smollm2-135m-instruct-q4_1.gguf");
  int equal = 0;
  for (const std::string& document : test::documents()) {
    const auto ids = tokenizer->encode(document, false, true);
    const std::string text = tokenizer->decode(ids, true);
    const json clean = json::parse(json(document).dump(-1, ' ', false, json::error_handler_t::replace));
    equal += text == clean.get<std::string>();
  }
  // This vocabulary lacks the bytes of some rare characters, which are dropped, as Hugging Face drops them.
  EXPECT_GT(equal, static_cast<int>(test::documents().size()) / 2);
}

TEST(Decode, StreamEqualsWhole) {
  for (const std::string file :
       {"smollm2-135m-instruct-q4_1.gguf", "small_unigram.model", "small_bpe.json", "small_words.json"}) {
    const auto tokenizer = load(file);
    const auto& documents = test::documents();
    for (std::size_t i = 0; i < documents.size(); i += test::slow_machine ? 3 : 1) {
      const std::string& document = documents[i];
      for (const bool show : {false, true}) {
        const auto ids = tokenizer->encode(document, true, true);
        StreamDecoder stream(tokenizer, show);
        std::string text;
        for (const TokenId id : ids) {
          const std::string part = stream.push(id);
          ASSERT_NO_THROW(json(part).dump()) << "a part ends within a character";
          text += part;
        }
        text += stream.finish();
        ASSERT_EQ(text, tokenizer->decode(ids, show)) << file;
      }
    }
  }
}

// Ids as no text gives them: every part is whole characters, and together they are what decode gives.
TEST(Decode, AStreamOfRandomIdsNeverEmitsHalfACharacter) {
  std::mt19937 random(5);
  for (const std::string file : {"smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                                 "small_unigram.model", "small_unigram.json", "small_bpe.model", "small_bpe.json",
                                 "small_bpe.gguf", "small_unknown.model", "small_words.json"}) {
    const auto tokenizer = load(file);
    std::vector<TokenId> pieces_of_characters;  // tokens that begin or end within a character
    for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
      const std::string_view bytes = tokenizer->token_bytes(id);
      if (utf8::valid_prefix(bytes) != bytes.size()) pieces_of_characters.push_back(id);
    }
    for (int round = 0; round < 200; ++round) {
      std::vector<TokenId> ids(100);
      for (TokenId& id : ids) {
        id = static_cast<TokenId>(random() % static_cast<unsigned>(tokenizer->vocab_size()));
        if (round % 2 == 0 && !pieces_of_characters.empty())
          id = pieces_of_characters[random() % pieces_of_characters.size()];
        if (random() % 100 == 0) id = static_cast<TokenId>(random());  // outside of the vocabulary, negative too
      }
      const bool show = round % 4 < 2;
      StreamDecoder stream(tokenizer, show);
      std::string text;
      for (const TokenId id : ids) {
        const std::string part = stream.push(id);
        ASSERT_EQ(utf8::valid_prefix(part), part.size()) << file << ", token " << id;
        text += part;
      }
      text += stream.finish();
      ASSERT_EQ(text, tokenizer->decode(ids, show)) << file;
    }
  }
}

TEST(Decode, ReplacesMaximalInvalidPieces) {
  const auto tokenizer = load("small_bpe.model");
  const auto byte = [&](const char* name) { return *tokenizer->find(name); };
  // The examples of Python: b"a\xe4\xbdb".decode(errors="replace") and so on.
  const std::vector<TokenId> truncated{byte("<0xE4>"), byte("<0xBD>"), byte("<0x62>")};
  EXPECT_EQ(tokenizer->decode(truncated), "\uFFFDb");
  const std::vector<TokenId> surrogate{byte("<0xED>"), byte("<0xA0>"), byte("<0x80>")};
  EXPECT_EQ(tokenizer->decode(surrogate), "\uFFFD\uFFFD\uFFFD");
  const std::vector<TokenId> whole{byte("<0xF0>"), byte("<0x9F>"), byte("<0x98>"), byte("<0x80>")};
  EXPECT_EQ(tokenizer->decode(whole), "😀");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(whole[0]), "");
  EXPECT_EQ(stream.push(whole[1]), "");
  EXPECT_EQ(stream.push(whole[2]), "");
  EXPECT_EQ(stream.push(whole[3]), "😀");
  EXPECT_EQ(stream.push(whole[0]), "");
  EXPECT_EQ(stream.push(byte("<0x62>")), "\uFFFDb");
  EXPECT_EQ(stream.push(whole[0]), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.push(-1), "");
  EXPECT_EQ(stream.push(1 << 30), "");
}

TEST(Decode, LeadingSpaceOfSentencePiece) {
  const auto tokenizer = load("small_bpe.model");
  EXPECT_TRUE(tokenizer->drops_leading_space());
  const auto ids = tokenizer->encode(" the waves", false);
  EXPECT_EQ(tokenizer->decode(ids), " the waves");
  EXPECT_EQ(tokenizer->token_bytes(ids[1]).substr(0, 1), " ");
}

TEST(Special, OfTheModelsAtHand) {
  const auto smollm = load("smollm2-135m-instruct-q4_1.gguf");
  EXPECT_EQ(smollm->vocab_size(), 49152);
  EXPECT_EQ(smollm->special().eos, 2);
  EXPECT_EQ(smollm->special().bos, 1);
  EXPECT_EQ(smollm->special().end_of_generation, (std::vector<TokenId>{0, 2}));  // <|endoftext|>, <|im_end|>
  EXPECT_EQ(smollm->encode("hi", true), smollm->encode("hi", false));
  const auto qwen = load("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
  EXPECT_EQ(qwen->special().end_of_generation, (std::vector<TokenId>{151643, 151645}));
  EXPECT_EQ(qwen->special().fim_prefix, qwen->find("<|fim_prefix|>"));
  EXPECT_EQ(qwen->special().fim_middle, qwen->find("<|fim_middle|>"));
  EXPECT_EQ(qwen->special().fim_suffix, qwen->find("<|fim_suffix|>"));
  ASSERT_TRUE(qwen->special().fim_prefix);
  EXPECT_EQ(qwen->token_kind(*qwen->special().fim_prefix), TokenKind::control);
  EXPECT_EQ(qwen->token_bytes(151644), "");
  EXPECT_EQ(qwen->token_bytes(151644, true), "<|im_start|>");
}

TEST(Special, OfSentencePiece) {
  for (const char* file : {"small_bpe.model", "small_bpe.gguf", "small_bpe.json"}) {
    const auto tokenizer = load(file);
    const auto ids = tokenizer->encode("the", true);
    EXPECT_EQ(ids.front(), 1) << file;
    EXPECT_EQ(ids.size(), tokenizer->encode("the", false).size() + 1) << file;
    EXPECT_EQ(tokenizer->special().unknown, 0) << file;
    EXPECT_EQ(tokenizer->token_kind(*tokenizer->find("<0x41>")), TokenKind::byte) << file;
    EXPECT_EQ(tokenizer->token_kind(*tokenizer->find("<sep>")), TokenKind::added) << file;
  }
}

}  // namespace
}  // namespace moebox

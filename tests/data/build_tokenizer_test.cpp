// Trained tokenizers against those of Hugging Face's trainer (tests/golden/data), token by token and merge by merge.
#include <gtest/gtest.h>

#include "data/build/tokenizer_training.h"
#include "data/data_testing.h"
#include "io/json_file.h"
#include "tokenizer/tokenizer.h"

namespace moebox {
namespace {

using data::TokenizerTrainingOptions;
using data::TrainedTokenizer;

const nlohmann::json& golden_tokenizers() {
  static const nlohmann::json file = read_json_file(MOEBOX_TEST_DIR "/golden/data/tokenizers.json");
  return file;
}

TokenizerTrainingOptions options_of(const nlohmann::json& wanted, const test::TemporaryFolder& folder, int n_threads) {
  TokenizerTrainingOptions options;
  data::SourceOptions source;
  for (const nlohmann::json& name : wanted["texts"]) {
    source.files.push_back(folder / name.get<std::string>());
    test::write_file(source.files.back(), golden_tokenizers()["texts"][name.get<std::string>()].get<std::string>());
  }
  options.sources = {source};
  options.pre_tokenizer = wanted["pre_tokenizer"];
  options.by_line = wanted["by_line"];
  options.bpe.vocabulary_size = wanted["size"];
  options.bpe.min_frequency = wanted["least"];
  options.bpe.special_tokens = wanted["special"].get<std::vector<std::string>>();
  options.n_threads = n_threads;
  return options;
}

TEST(TokenizerTraining, EqualsTheOtherTrainer) {
  for (const nlohmann::json& wanted : golden_tokenizers()["cases"]) {
    if (wanted["texts"][0] == "empty") continue;
    SCOPED_TRACE(wanted["pre_tokenizer"].dump() + wanted["texts"].dump());
    for (const int n_threads : {1, 3}) {
      const test::TemporaryFolder folder;
      const TrainedTokenizer trained = data::train_tokenizer(options_of(wanted, folder, n_threads));
      const auto& model = trained.document["model"];
      ASSERT_EQ(model["vocab"].size(), wanted["vocabulary"].size());
      std::size_t id = 0;
      for (const auto& [token, found] : model["vocab"].items()) {
        EXPECT_EQ(token, wanted["vocabulary"][id].get<std::string>()) << id;
        EXPECT_EQ(found, id++);
      }
      EXPECT_EQ(model["merges"].dump(), wanted["merges"].dump());
    }
  }
}

TEST(TokenizerTraining, TheFileSaysWhatTheOtherFileSays) {
  for (const nlohmann::json& wanted : golden_tokenizers()["cases"]) {
    const auto frame = data::tokenizer_frame(wanted["pre_tokenizer"]);
    EXPECT_EQ(nlohmann::json::parse(frame["normalizer"].dump()), wanted["frame"]["normalizer"]);
    EXPECT_EQ(nlohmann::json::parse(frame["decoder"].dump()), wanted["frame"]["decoder"]);
    if (wanted["pre_tokenizer"] == "deepseek-v3") continue;  // the same characters, spelled otherwise
    EXPECT_EQ(nlohmann::json::parse(frame["pre_tokenizer"].dump()), wanted["frame"]["pre_tokenizer"]);
  }
}

TEST(TokenizerTraining, OurReaderTakesItAndSpellsEveryText) {
  for (const nlohmann::json& wanted : golden_tokenizers()["cases"]) {
    if (wanted["texts"][0] == "empty") continue;
    const test::TemporaryFolder folder;
    const TrainedTokenizer trained = data::train_tokenizer(options_of(wanted, folder, 2));
    const auto tokenizer = Tokenizer::from_json(trained.document.dump());
    EXPECT_EQ(tokenizer->vocab_size(), static_cast<int>(trained.n_tokens));
    for (const nlohmann::json& special : wanted["special"]) {
      const auto id = tokenizer->find(special.get<std::string>());
      ASSERT_TRUE(id);
      EXPECT_EQ(tokenizer->token_kind(*id), TokenKind::control);
    }
    if (wanted["pre_tokenizer"] == "qwen2") continue;  // it normalises
    for (const auto& [name, text] : golden_tokenizers()["texts"].items()) {
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text.get<std::string>())), text.get<std::string>());
    }
  }
}

TEST(TokenizerTraining, WhatCannotBe) {
  const test::TemporaryFolder folder;
  const nlohmann::json& wanted = golden_tokenizers()["cases"][0];
  auto options = options_of(wanted, folder, 1);
  options.bpe.vocabulary_size = 256;
  test::expect_error(ErrorKind::invalid_argument, {"257", "256"}, [&] { data::train_tokenizer(options); });
  options = options_of(wanted, folder, 1);
  options.pre_tokenizer = "word2vec";
  test::expect_error(ErrorKind::unsupported, {"word2vec", "qwen2"}, [&] { data::train_tokenizer(options); });
  options = options_of(wanted, folder, 1);
  test::write_file(options.sources[0].files[0], "");
  test::expect_error(ErrorKind::invalid_argument, {"no text"}, [&] { data::train_tokenizer(options); });
  options = options_of(wanted, folder, 1);
  options.bpe.progress = [](std::size_t) { return false; };
  test::expect_error(ErrorKind::cancelled, {}, [&] { data::train_tokenizer(options); });
}

}  // namespace
}  // namespace moebox

// Tokenizers of Hugging Face folders, loaded as the program does: tokenizer.json or tokenizer.model, and the
// configurations beside them.
#include <gtest/gtest.h>

#include "golden.h"
#include "io/checkpoint.h"
#include "io/io_testing.h"

namespace moebox {
namespace {

using nlohmann::json;
using test::expect_error;

/// A folder with a model's tensors, to which a test adds its files.
class Folder {
 public:
  explicit Folder(json config = json::object()) {
    const std::filesystem::path model = MOEBOX_TEST_DIR "/golden/transformers/models/llama_gqa";
    json own = json::parse(test::read_file((model / "config.json").string()));
    own.erase("eos_token_id");
    own.update(config);
    add("config.json", own);
    std::filesystem::copy_file(model / "model.safetensors", folder_ / "model.safetensors");
  }
  Folder& add(const char* name, const json& content) { return add_bytes(name, content.dump()); }
  Folder& add_bytes(const char* name, const std::string& content) {
    test::write_file(folder_ / name, content);
    return *this;
  }
  Folder& with_tokenizer() { return add_bytes("tokenizer.json", test::read_file(test::golden_path("small_bpe.json"))); }
  std::shared_ptr<const Tokenizer> load() const { return Tokenizer::load(Checkpoint::open(folder_.path())); }
  std::vector<TokenId> ends() const { return load()->special().end_of_generation; }

 private:
  test::TemporaryFolder folder_;
};

using Ids = std::vector<TokenId>;

TEST(TokenizerFolder, WithoutOne) {
  expect_error(ErrorKind::not_found, {"tokenizer.json or tokenizer.model"}, [] { Folder().load(); });
}

TEST(TokenizerFolder, JsonGivesTheSameIdsAsTheFileAlone) {
  Folder folder;
  folder.with_tokenizer();
  const auto alone = Tokenizer::from_json(test::read_file(test::golden_path("small_bpe.json")));
  for (const std::string& document : test::documents()) {
    ASSERT_EQ(folder.load()->encode(document, true), alone->encode(document, true));
    if (document.size() > 3000) break;
  }
}

TEST(TokenizerFolder, ModelFileWhereThereIsNoJson) {
  Folder folder;
  const std::string model = test::read_file(test::golden_path("small_unigram.model"));
  folder.add_bytes("tokenizer.model", model);
  EXPECT_EQ(folder.load()->encode("the waves of 2024", true),
            Tokenizer::from_sentencepiece(model)->encode("the waves of 2024", true));
  EXPECT_EQ(folder.ends(), Ids{2});
  folder.add("generation_config.json", {{"eos_token_id", {2, 7}}});
  EXPECT_EQ(folder.ends(), (Ids{2, 7}));
}

TEST(TokenizerFolder, TheConfigurationNamesTheSpecialTokens) {
  Folder folder;
  folder.with_tokenizer();
  const auto encode = [&](json config) {
    return folder.add("tokenizer_config.json", config).load()->encode("the", true);
  };
  const Ids plain = folder.load()->encode("the", false);
  const auto around = [&](Ids before, Ids after) {
    before.insert(before.end(), plain.begin(), plain.end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
  };
  EXPECT_EQ(encode({{"bos_token", "<s>"}, {"eos_token", "</s>"}}), around({1}, {})) << "the post-processor's template";
  EXPECT_EQ(encode({{"bos_token", "<s>"}, {"add_bos_token", false}}), plain);
  EXPECT_EQ(encode({{"bos_token", {{"content", "<s>"}}},
                    {"eos_token", "</s>"},
                    {"add_bos_token", true},
                    {"add_eos_token", true}}),
            around({1}, {2}));
  EXPECT_EQ(encode({{"bos_token", "not there"}, {"add_bos_token", true}}), plain);
  const auto tokenizer = folder.add("tokenizer_config.json", {{"eos_token", "</s>"}, {"pad_token", "<unk>"}}).load();
  const auto& special = tokenizer->special();
  EXPECT_EQ(special.eos, 2);
  EXPECT_EQ(special.padding, 0);
  EXPECT_EQ(special.bos, std::nullopt);
  folder.add_bytes("tokenizer_config.json", "{\"bos_token\": ");
  expect_error(ErrorKind::invalid_file, {"tokenizer_config.json"}, [&] { folder.load(); });
}

TEST(TokenizerFolder, GenerationConfigSaysWhatEndsAnAnswer) {
  Folder folder;
  folder.with_tokenizer();
  EXPECT_EQ(folder.ends(), Ids{2}) << "</s> by its name";
  folder.add("generation_config.json", {{"eos_token_id", 5}});
  EXPECT_EQ(folder.ends(), (Ids{2, 5}));
  folder.add("generation_config.json", {{"eos_token_id", {9, 5, 9, 2}}, {"temperature", 0.6}});
  EXPECT_EQ(folder.ends(), (Ids{2, 5, 9}));
  for (const json& none : {json(nullptr), json(-1), json::array()}) {
    folder.add("generation_config.json", {{"eos_token_id", none}});
    EXPECT_EQ(folder.ends(), Ids{2}) << none;
  }
}

TEST(TokenizerFolder, TheModelsConfigurationCountsWhereThereIsNoOther) {
  Folder folder(json{{"eos_token_id", {4, 5}}});
  folder.with_tokenizer();
  EXPECT_EQ(folder.ends(), (Ids{2, 4, 5}));
  folder.add("generation_config.json", {{"temperature", 1}});
  EXPECT_EQ(folder.ends(), (Ids{2, 4, 5}));
  folder.add("generation_config.json", {{"eos_token_id", 6}});
  EXPECT_EQ(folder.ends(), (Ids{2, 6}));
}

TEST(TokenizerFolder, HostileGenerationConfigs) {
  Folder folder;
  folder.with_tokenizer();
  for (const json& bad : {json("2"), json(2.5), json(-2), json(1ull << 40), json::array({2, "3"}),
                          json::array({json::array({2})}), json(true)}) {
    folder.add("generation_config.json", {{"eos_token_id", bad}});
    expect_error(ErrorKind::invalid_file, {"eos_token_id"}, [&] { folder.load(); });
  }
  folder.add("generation_config.json", {{"eos_token_id", 100000}});
  expect_error(ErrorKind::invalid_file, {"100000", "not in the vocabulary"}, [&] { folder.load(); });
  folder.add("generation_config.json", json::array({1}));
  expect_error(ErrorKind::invalid_file, {"generation_config.json"}, [&] { folder.load(); });
  folder.add_bytes("generation_config.json", std::string(100000, '['));
  expect_error(ErrorKind::resource, {"generation_config.json", "nested"}, [&] { folder.load(); });
}

}  // namespace
}  // namespace moebox

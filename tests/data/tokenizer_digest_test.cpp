// The digest by which shards know their tokenizer: other tokens, or the same cut otherwise, have another one.
#include "data/tokenizer_digest.h"

#include <set>

#include <gtest/gtest.h>

#include "data/build/tokenizer_training.h"
#include "data/digest.h"
#include "tokenizer/any_tokenizer.h"

namespace moebox {
namespace {

std::string digest_of_file(const std::string& file) {
  return data::tokenizer_digest(*test::load_any_tokenizer(MOEBOX_TEST_DIR "/golden/tokenizer/" + file));
}

TEST(TokenizerDigest, TellsTokenizersApart) {
  std::set<std::string> digests = {digest_of_file("small_bpe.json"), digest_of_file("small_unigram.json"),
                                   digest_of_file("small_words.json")};
  EXPECT_EQ(digests.size(), 3u);
  // The same tokens, cut otherwise: ids mean the same, but texts become others.
  data::WordCounts words;
  words.add(" 1234", 9);
  words.add(" river", 9);
  const data::TrainedBpe bpe = data::train_bpe(words, {.vocabulary_size = 264});
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2"}) {
    auto document = data::tokenizer_frame(name);
    for (std::size_t id = 0; id < bpe.tokens.size(); ++id) document["model"]["vocab"][bpe.tokens[id]] = id;
    for (const auto& [left, right] : bpe.merges)
      document["model"]["merges"].push_back({bpe.tokens[left], bpe.tokens[right]});
    digests.insert(data::tokenizer_digest(*Tokenizer::from_json(document.dump())));
  }
  EXPECT_EQ(digests.size(), 6u);
}

}  // namespace
}  // namespace moebox

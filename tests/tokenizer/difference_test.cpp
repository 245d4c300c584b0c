// Tokenizers that mean the same by their ids, and the first thing by which others do not.
#include "tokenizer/difference.h"

#include <map>

#include <gtest/gtest.h>

#include "golden.h"
#include "io/checkpoint.h"

namespace moebox {
namespace {

using nlohmann::json;

json words() { return json::parse(test::read_file(test::golden_path("small_words.json"))); }

std::string difference(const json& tokenizer, const json& other, std::vector<TokenId> ends = {}) {
  return tokenizer_difference(*Tokenizer::from_json(tokenizer.dump()),
                              *Tokenizer::from_json(other.dump(), {}, std::move(ends)));
}

TEST(TokenizerDifference, OneVocabularyHasNone) { EXPECT_EQ(difference(words(), words()), ""); }

TEST(TokenizerDifference, NamesTheFirstToken) {
  json other = words();
  auto& vocab = other["model"]["vocab"];
  std::map<int, std::string> by_id;
  for (const auto& [text, id] : vocab.items()) by_id[id] = text;
  // Two that no merge needs.
  const std::string a = by_id.at(10), b = by_id.at(20);
  other["model"]["merges"] = json::array();
  json first = other;
  vocab[a] = 20;
  vocab[b] = 10;
  const std::string said = difference(first, other);
  EXPECT_NE(said.find("its token 10 is "), std::string::npos) << said;
  EXPECT_NE(said.find(a), std::string::npos) << said;
  EXPECT_NE(said.find(b), std::string::npos) << said;
}

TEST(TokenizerDifference, NamesTheSizes) {
  json other = words();
  const auto size = Tokenizer::from_json(words().dump())->vocab_size();
  other["added_tokens"].push_back({{"id", size},
                                   {"content", "<one more>"},
                                   {"single_word", false},
                                   {"lstrip", false},
                                   {"rstrip", false},
                                   {"normalized", false},
                                   {"special", true}});
  for (const bool swapped : {false, true}) {
    const std::string said = swapped ? difference(other, words()) : difference(words(), other);
    EXPECT_NE(said.find(std::to_string(size)), std::string::npos) << said;
    EXPECT_NE(said.find(std::to_string(size + 1)), std::string::npos) << said;
  }
}

TEST(TokenizerDifference, NamesWhatEndsAnAnswer) {
  const std::string said = difference(words(), words(), {7});
  EXPECT_NE(said.find("the end of an answer"), std::string::npos) << said;
  EXPECT_NE(said.find('7'), std::string::npos) << said;
}

// A GGUF's vocabulary is padded to the size of the model's matrices with tokens that are not used.
TEST(TokenizerDifference, PaddingDoesNotCount) {
  const auto padded = Tokenizer::load(Checkpoint::open(test::model_path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")));
  ASSERT_EQ(padded->token_kind(padded->vocab_size() - 1), TokenKind::unused);
  class Cut final : public Tokenizer {
   public:
    explicit Cut(std::shared_ptr<const Tokenizer> all) : all_(std::move(all)) {}
    int vocab_size() const noexcept override { return all_->vocab_size() - 100; }
    std::string_view token_text(TokenId id) const noexcept override { return all_->token_text(id); }
    TokenKind token_kind(TokenId id) const noexcept override { return all_->token_kind(id); }
    std::optional<TokenId> find(std::string_view text) const noexcept override { return all_->find(text); }
    std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add) const override {
      return all_->encode(spans, add);
    }
    std::string_view token_bytes(TokenId id, bool show) const noexcept override { return all_->token_bytes(id, show); }
    bool drops_leading_space() const noexcept override { return all_->drops_leading_space(); }
    std::string decode(std::span<const TokenId> ids, bool show) const override { return all_->decode(ids, show); }
    const Special& special() const noexcept override { return all_->special(); }

   private:
    std::shared_ptr<const Tokenizer> all_;
  };
  EXPECT_EQ(tokenizer_difference(*padded, Cut(padded)), "");
  EXPECT_EQ(tokenizer_difference(Cut(padded), *padded), "");
}

}  // namespace
}  // namespace moebox

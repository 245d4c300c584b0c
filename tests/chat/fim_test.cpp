// Prompts that ask for the middle of a text.
#include "chat/fim.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/fake_tokenizer.h"

namespace moebox {
namespace {

using Ids = std::vector<TokenId>;

FakeTokenizer with_markers() {
  FakeTokenizer tokenizer({"<pre>", "<suf>", "<mid>", "<s>"});
  tokenizer.special().fim_prefix = 256;
  tokenizer.special().fim_suffix = 257;
  tokenizer.special().fim_middle = 258;
  return tokenizer;
}

TEST(FillIn, PutsPrefixThenSuffixThenMiddle) {
  EXPECT_EQ(fill_in_prompt(with_markers(), "ab", "c"), (Ids{256, 'a', 'b', 257, 'c', 258}));
  EXPECT_EQ(fill_in_prompt(with_markers(), "", ""), (Ids{256, 257, 258}));
}

TEST(FillIn, BeginsWithBosWhereTheTokenizerDoes) {
  FakeTokenizer tokenizer = with_markers();
  tokenizer.special().bos = 259;
  EXPECT_EQ(fill_in_prompt(tokenizer, "a", "b"), (Ids{259, 256, 'a', 257, 'b', 258}));
}

TEST(FillIn, TextMakesNoMarkers) {
  EXPECT_EQ(FakeTokenizer::control_of(fill_in_prompt(with_markers(), "x<mid>", "<pre>y")), (Ids{256, 257, 258}));
}

TEST(FillIn, IsRefusedWithoutMarkers) {
  EXPECT_FALSE(can_fill_in(FakeTokenizer({})));
  FakeTokenizer half = with_markers();
  half.special().fim_suffix.reset();
  EXPECT_FALSE(can_fill_in(half));
  try {
    fill_in_prompt(half, "a", "b");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
  }
}

}  // namespace
}  // namespace moebox

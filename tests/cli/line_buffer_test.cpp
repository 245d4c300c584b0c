#include "cli/line_buffer.h"

#include <gtest/gtest.h>

#include "cli/line_editor.h"

namespace moebox::cli {
namespace {

TEST(LineBuffer, MovesAndErasesWholeCharacters) {
  LineBuffer line;
  line.insert("a你e\u0301👩‍👩‍👧!");  // one letter with an accent, one family of five code points
  EXPECT_TRUE(line.left());
  EXPECT_TRUE(line.erase_before());
  EXPECT_EQ(line.text(), "a你e\u0301!");
  EXPECT_TRUE(line.erase_before());
  EXPECT_EQ(line.text(), "a你!");
  EXPECT_TRUE(line.left());
  EXPECT_TRUE(line.erase_after());
  EXPECT_EQ(line.text(), "a!");
  line.home();
  EXPECT_FALSE(line.left());
  EXPECT_FALSE(line.erase_before());
  line.end();
  EXPECT_FALSE(line.right());
  EXPECT_FALSE(line.erase_after());
}

TEST(LineBuffer, WordsAndLinesAreCutAndPutBack) {
  LineBuffer line;
  line.insert("one two  three");
  line.erase_word_before();
  EXPECT_EQ(line.text(), "one two  ");
  line.erase_word_before();
  EXPECT_EQ(line.text(), "one ");
  line.yank();
  EXPECT_EQ(line.text(), "one two  ");
  line.word_left();
  line.word_left();
  EXPECT_EQ(line.cursor(), 0u);
  line.word_right();
  EXPECT_EQ(line.cursor(), 3u);
  line.erase_to_end();
  EXPECT_EQ(line.text(), "one");
  line.erase_to_home();
  EXPECT_EQ(line.text(), "");
  line.insert("first\nsecond");
  line.home();
  EXPECT_EQ(line.cursor(), 6u);
  line.erase_to_end();
  EXPECT_EQ(line.text(), "first\n");
}

TEST(LineBuffer, TakesNoControlCharactersAndNoBrokenUtf8) {
  LineBuffer line;
  line.insert("a\033[31mb\x07\xff\xe4\xbd");
  EXPECT_EQ(line.text(), "a[31mb\ufffd\ufffd\ufffd");
  line.set("");
  line.insert("tab\tand\nfeed");
  EXPECT_EQ(line.text(), "tab\tand\nfeed");
}

TEST(LineBuffer, WidthsAreThoseOfATerminal) {
  EXPECT_EQ(character_width("a"), 1);
  EXPECT_EQ(character_width("你"), 2);
  EXPECT_EQ(character_width("e\u0301"), 1);
  EXPECT_EQ(character_width("👩‍👩‍👧"), 2);
  EXPECT_EQ(character_width("❤\ufe0f"), 2);
  EXPECT_EQ(character_width(""), 0);
}

}  // namespace
}  // namespace moebox::cli

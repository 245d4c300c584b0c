#include <cstdlib>

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/bench_engine.h"
#include "cli/console.h"
#include "cli/messages.h"
#include "cli/nearest.h"
#include "cli/progress.h"
#include "cli/token_ids.h"

namespace moebox::cli {
namespace {

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("prot", "port"), 1);
  EXPECT_EQ(edit_distance("Model", "model"), 0);
  EXPECT_EQ(nearest("shwo", {"show", "serve", "run"}), "show");
  EXPECT_EQ(nearest("elephant", {"show", "serve", "run"}), std::nullopt);
}

TEST(Printable, ReplacesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("a\033[2Jb"), "a\ufffd[2Jb");
  EXPECT_EQ(printable("bell\x07 return\r del\x7f"), "bell\ufffd return\ufffd del\ufffd");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\ufffd31m");  // CSI as one C1 character
  EXPECT_EQ(printable("tab\t feed\n 你好 é"), "tab\t feed\n 你好 é");
}

TEST(Text, WidthsAndSizes) {
  EXPECT_EQ(display_width("ab你"), 4);
  EXPECT_EQ(pad_right("你", 4), "你  ");
  EXPECT_EQ(pad_left("你", 4), "  你");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(98362432), "98 MB");
  EXPECT_EQ(bytes_text(999600000), "1.0 GB");
}

TEST(Progress, EveryShareIsToldOnceWhereNothingCanBeRedrawn) {
  testing::internal::CaptureStderr();
  {
    const Console console;
    ProgressBar bar(console);
    for (const std::uint64_t done : {0u, 30u, 100u, 60u, 80u, 100u}) bar.show("model", done, 100);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "fetching model, 100 B\n  25 %\n  100 %\n");
}

TEST(TokenIds, AreReadAsPeopleAndProgramsWriteThem) {
  EXPECT_EQ(parse_token_ids("[1, 2,3 ]\n4", 10), (std::vector<TokenId>{1, 2, 3, 4}));
  EXPECT_TRUE(parse_token_ids(" [] ", 10).empty());
  for (const char* bad : {"10", "-1", "1.5", "a", "99999999999999999999", "1;2"}) {
    EXPECT_THROW(parse_token_ids(bad, 10), Error) << bad;
  }
}

TEST(TokenIds, AnIdThatIsMissingIsNamedWithItsPlace) {
  const auto error_of = [](const char* text) -> std::string {
    try {
      parse_token_ids(text, 10);
    } catch (const Error& error) {
      return error.where() + ": " + error.message();
    }
    return "";
  };
  EXPECT_EQ(error_of("1,,2"),
            "token ids, line 1, column 3: expected integers from 0 to 9, found nothing before the comma");
  EXPECT_EQ(error_of("1, 2\n, ,3"),
            "token ids, line 2, column 3: expected integers from 0 to 9, found nothing before the comma");
  EXPECT_EQ(error_of(",1"),
            "token ids, line 1, column 1: expected integers from 0 to 9, found nothing before the comma");
  EXPECT_EQ(error_of("[1, 2, ]\n"),
            "token ids, line 1, column 6: expected integers from 0 to 9, found nothing after the comma");
  EXPECT_EQ(error_of("1 2\n 3 x"), "token ids, line 2, column 4: expected integers from 0 to 9, found 'x'");
}

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({7}), 7);
}

TEST(Messages, BothLanguagesFillTheSamePlaces) {
  for (const Language language : {Language::english, Language::chinese}) {
    const Messages& text = messages(language);
    EXPECT_NE(say(text.overview, "9.9.9").find("9.9.9"), std::string::npos);
    EXPECT_NE(say(text.error, "boom").find("boom"), std::string::npos);
    EXPECT_NE(say(text.loaded, 3, "talk.json").find("talk.json"), std::string::npos);
    EXPECT_NE(say(text.loaded, 3, "talk.json").find("3"), std::string::npos);
    EXPECT_NE(say(text.figures, 1, 2, "3.0", "4.0", say(text.drafts, 8, 9), "5", "6 MB").find("6 MB"),
              std::string::npos);
    EXPECT_NE(say(text.drafts, 8, 9).find("9"), std::string::npos);
    EXPECT_NE(say(text.does_not_fit, 77, 88).find("88"), std::string::npos);
    EXPECT_NE(say(text.value_set, "seed", "1").find("seed"), std::string::npos);
  }
  EXPECT_EQ(language_of("zh"), Language::chinese);
  EXPECT_EQ(language_of("en"), Language::english);
}

TEST(Messages, TheLanguageIsThatOfTheFirstVariable) {
  ::setenv("LANG", "zh_CN.UTF-8", 1);
  ::unsetenv("LC_MESSAGES");
  ::unsetenv("LC_ALL");
  EXPECT_EQ(language_of("auto"), Language::chinese);
  ::setenv("LC_ALL", "C.UTF-8", 1);
  EXPECT_EQ(language_of("auto"), Language::english);
  ::unsetenv("LC_ALL");
  ::unsetenv("LANG");
  EXPECT_EQ(language_of("auto"), Language::english);
}

}  // namespace
}  // namespace moebox::cli

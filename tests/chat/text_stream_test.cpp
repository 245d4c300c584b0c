// Streams with stop strings, against a search through the whole text.
#include "chat/text_stream.h"

#include <algorithm>
#include <chrono>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/fake_tokenizer.h"
#include "chat/stop_matcher.h"

namespace moebox {
namespace {

std::shared_ptr<const FakeTokenizer> bytes() {
  return std::make_shared<FakeTokenizer>(std::vector<std::string>{"<|end|>"});
}

struct Result {
  std::string text;
  std::string stop;
  std::vector<std::string> pieces;
};

Result run(const std::string& text, std::vector<std::string> stops) {
  TextStream stream(bytes(), std::move(stops));
  Result result;
  for (const char c : text) {
    auto piece = stream.push(static_cast<unsigned char>(c));
    result.text += piece.text;
    if (!piece.text.empty()) result.pieces.push_back(piece.text);
    if (piece.stopped) break;
  }
  result.text += stream.finish();
  result.stop = stream.matched_stop();
  return result;
}

/// The definition: the text before the stop string that ends first, the longest of those that end there.
std::pair<std::string, std::string> expected(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      if (stop.size() > best.size() && stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        best = stop;
    }
    if (!best.empty()) return {text.substr(0, end - best.size()), best};
  }
  return {text, ""};
}

TEST(TextStream, StopsAcrossTokens) {
  const Result result = run("Hello END more", {"END"});
  EXPECT_EQ(result.text, "Hello ");
  EXPECT_EQ(result.stop, "END");
  EXPECT_EQ(run("Hello EN", {"END"}).text, "Hello EN");
  EXPECT_EQ(run("EENEND", {"END"}).text, "EEN");
  EXPECT_EQ(run("aaab", {"aab"}).text, "a");
}

TEST(TextStream, HoldsBackNoMoreThanNeeded) {
  const Result result = run("a<b<|x", {"<|end|>"});
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"a", "<b", "<|x"}));
  EXPECT_EQ(run("abc", {}).pieces, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(TextStream, NeverHalfACharacter) {
  const Result result = run("é😀z", {"zz"});
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"é", "😀"}));
  EXPECT_EQ(result.text, "é😀z");
  EXPECT_EQ(run("caf\xc3", {"x"}).text, "caf\xef\xbf\xbd");
  EXPECT_EQ(run("日本語", {"本"}).text, "日");
}

TEST(TextStream, AStopAtTheVeryEndOfAnUnfinishedCharacter) {
  const Result result = run("ab\xe4\xb8", {"\xef\xbf\xbd"});
  EXPECT_EQ(result.text, "ab");
  EXPECT_EQ(result.stop, "\xef\xbf\xbd");
}

TEST(TextStream, AfterTheStopComesNothing) {
  TextStream stream(bytes(), {"b"});
  EXPECT_FALSE(stream.push('a').stopped);
  EXPECT_TRUE(stream.push('b').stopped);
  const auto piece = stream.push('c');
  EXPECT_TRUE(piece.stopped);
  EXPECT_EQ(piece.text + stream.finish(), "");
}

TEST(TextStream, RefusesEmptyStops) { EXPECT_THROW(TextStream(bytes(), {"a", ""}), Error); }

TEST(TextStream, EqualsTheDefinition) {
  std::mt19937 random(7);
  const auto word = [&](int most, int letters) {
    std::string text;
    for (int n = 1 + static_cast<int>(random() % static_cast<unsigned>(most)); n > 0; --n) {
      text += "ab\n"[random() % static_cast<unsigned>(letters)];
    }
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (int n = static_cast<int>(random() % 5); n > 0; --n) stops.push_back(word(6, 2));
    const std::string text = word(30, 3);
    const auto [before, stop] = expected(text, stops);
    const Result got = run(text, stops);
    ASSERT_EQ(got.text, before) << text;
    ASSERT_EQ(got.stop, stop) << text;
  }
}

TEST(StopMatcher, ManyLongStopsCostNothingPerByte) {
  std::vector<std::string> stops;
  for (int i = 0; i < 2000; ++i) stops.push_back(std::string(200, 'a') + std::to_string(i));
  StopMatcher matcher(std::move(stops));
  const std::string text(2'000'000, 'a');
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(matcher.take(text), text.size());
  EXPECT_EQ(matcher.pending(), 200u);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
            20.0);  // tenths of a second
  EXPECT_EQ(matcher.take("x"), 1u);
  EXPECT_EQ(matcher.pending(), 0u);
}

}  // namespace
}  // namespace moebox

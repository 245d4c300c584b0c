#include "server/strict_json.h"

#include <ctime>

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace moebox {
namespace {

ApiError json_refusal(std::string_view text, JsonLimits limits = {}) {
  try {
    parse_strict_json(text, limits);
  } catch (const ApiException& error) {
    return error.error();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

TEST(StrictJson, BuildsWhatTheLibraryBuilds) {
  const char* texts[] = {R"({"a":[1,2.5,-3,{"b":null}],"c":{"d":[[],{}]},"e":"é","f":true})",
                         "[]",
                         "\"x\"",
                         "12",
                         "null",
                         R"({"":{"":[{"":1}]}})",
                         "[18446744073709551615, -9223372036854775808]"};
  for (const char* text : texts) EXPECT_EQ(parse_strict_json(text), Json::parse(text)) << text;
}

TEST(StrictJson, RefusesAKeyThatOccursTwice) {
  const ApiError error = json_refusal(R"({"model":"a","model":"b"})");
  EXPECT_EQ(error.status, 400);
  EXPECT_EQ(error.param, "model");
  EXPECT_EQ(json_refusal(R"({"x":{"y":1,"y":1}})").param, "x");
}

TEST(StrictJson, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_strict_json(R"({"z":1,"a":{"y":2,"b":3}})").dump(), R"({"z":1,"a":{"y":2,"b":3}})");
}

/// Processor time, which a busy machine does not stretch, of reading an object of so many keys.
std::clock_t time_of_keys(int n, int times) {
  std::string text = "{";
  for (int i = 0; i < n; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  text += "}";
  const std::clock_t begin = std::clock();
  for (int i = 0; i < times; ++i) EXPECT_EQ(parse_strict_json(text).size(), static_cast<std::size_t>(n));
  return std::clock() - begin;
}

TEST(StrictJson, TheTimeOfManyKeysGrowsWithTheirNumber) {
  // The same number of keys: with quadratic look-ups the one large object takes 16 times as long.
  const auto small = time_of_keys(10'000, 16), large = time_of_keys(160'000, 1);
  EXPECT_LT(static_cast<double>(large), 6.0 * static_cast<double>(small));
}

TEST(StrictJson, LimitsDepth) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
  };
  EXPECT_NO_THROW(parse_strict_json(nested(64)));
  EXPECT_NE(json_refusal(nested(65)).message.find("64"), std::string::npos);
  EXPECT_EQ(json_refusal(nested(2'000'000)).status, 400);
  EXPECT_EQ(json_refusal(std::string(2'000'000, '[')).status, 400);
}

TEST(StrictJson, LimitsTheNumberOfValues) {
  EXPECT_NO_THROW(parse_strict_json("[1,2,3]", {64, 4}));
  EXPECT_EQ(json_refusal("[1,2,3,4]", {64, 4}).status, 400);
}

TEST(StrictJson, NamesTheFieldOfBadText) {
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xbd"}) {
    const ApiError error = json_refusal(std::string("{\"prompt\":\"") + bad + "\"}");
    EXPECT_EQ(error.param, "prompt");
    EXPECT_NE(error.message.find("UTF-8"), std::string::npos) << error.message;
  }
  EXPECT_EQ(json_refusal(R"({"prompt":"\ud800"})").param, "prompt");
}

TEST(StrictJson, RefusesNumbersThatAreNone) {
  for (const char* bad : {"NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "0x10", "1e"}) {
    EXPECT_EQ(json_refusal(std::string("{\"temperature\":") + bad + "}").status, 400) << bad;
  }
  const ApiError error = json_refusal(R"({"temperature":1e999})");
  EXPECT_EQ(error.param, "temperature");
  EXPECT_NE(error.message.find("out of range"), std::string::npos);
}

TEST(StrictJson, RefusesWhatIsNoDocument) {
  for (const char* bad : {"", " ", "{", "{}x", "{} {}", "{'a':1}", "{\"a\":1,}", "[1,]", "\"a", "\"\n\"", "// c\n{}",
                          "\xef\xbb", "tru"}) {
    EXPECT_EQ(json_refusal(bad).status, 400) << bad;
  }
  EXPECT_EQ(json_refusal(std::string_view("{\"a\":\"x\0y\"}", 11)).status, 400);
}

}  // namespace
}  // namespace moebox

#include "io/json_file.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/quote.h"
#include "io_testing.h"

namespace moebox {
namespace {

using test::expect_error;

TEST(JsonFile, ReadsJson) {
  EXPECT_EQ(parse_json(R"({"a":[1,2.5,"x"],"b":{"a":null}})", "x").at("a").at(1), 2.5);
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":2}])", "x").size(), 2u);
  const std::string text =
      R"({"a":[[],{},[1,[-2,{"b":true}]],false],"c":{"d":{"e":"\u4e2d"},"f":1.5e3},"g":18446744073709551615})";
  EXPECT_EQ(parse_json(text, "x"), nlohmann::json::parse(text));
  EXPECT_EQ(parse_json("3", "x"), 3);
}

TEST(JsonFile, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "{}}", "nul", "{'a':1}", "[1,]", "// c\n1", "\"\xff\"", "[1e999]", "\"\\ud800\""}) {
    expect_error(ErrorKind::invalid_file, {"x.json"}, [&] { parse_json(text, "x.json"); });
  }
}

TEST(JsonFile, RefusesKeysThatOccurTwiceAndDepth) {
  expect_error(ErrorKind::invalid_file, {"'k'", "twice"}, [] { parse_json(R"({"a":{"k":1,"\u006b":2}})", "x"); });
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "x"));
  expect_error(ErrorKind::invalid_file, {"64 deep"},
               [] { parse_json(std::string(65, '[') + std::string(65, ']'), "x"); });
  expect_error(ErrorKind::invalid_file, {"64 deep"}, [] { parse_json(std::string(1'000'000, '['), "x"); });
}

// Hours where reading an object looks through those before it.
TEST(JsonFile, ReadsManySmallObjects) {
  constexpr std::size_t count = 300'000;
  std::string array = "[{}", object = "{\"0\":{}";
  for (std::size_t i = 1; i < count; ++i) {
    array += ",{}";
    object += ",\"" + std::to_string(i) + "\":{}";
  }
  EXPECT_EQ(parse_json(array + "]", "x").size(), count);
  EXPECT_EQ(parse_json(object + "}", "x").size(), count);
}

TEST(JsonFile, RefusesFilesThatAreTooLarge) {
  const test::TemporaryFolder folder;
  test::write_file(folder / "a.json", "[" + std::string(100, ' ') + "]");
  EXPECT_NO_THROW(read_json_file(folder / "a.json", 102));
  expect_error(ErrorKind::invalid_file, {"a.json", "at most 101 bytes"},
               [&] { read_json_file(folder / "a.json", 101); });
}

TEST(Quote, MakesTextsFitForMessages) {
  EXPECT_EQ(quote("blk.0"), "'blk.0'");
  EXPECT_EQ(quote("中\n\x7f"), "'中\\x0a\\x7f'");
  EXPECT_EQ(quote("\xe4\xb8"), "'\\xe4\\xb8'");
  EXPECT_LT(quote(std::string(100'000, 'a')).size(), 120u);
  EXPECT_TRUE(is_utf8("中🙂"));
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));  // a surrogate
  EXPECT_FALSE(is_utf8("\xc0\x80"));      // too long a form
}

}  // namespace
}  // namespace moebox

// The parser's own messages go in, as it gives them; what comes out has no names of the library in it.
#include "base/json_problem.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace moebox {
namespace {

std::string problem(const std::string& text) {
  try {
    const auto parsed = nlohmann::json::parse(text);
    ADD_FAILURE() << parsed;
  } catch (const nlohmann::json::exception& error) {
    return json_problem(error.what());
  }
  return "";
}

TEST(JsonProblem, IsInWordsAndHasThePlace) {
  EXPECT_EQ(problem("{\"a\": [1,"), "it ends too early (line 1, column 10)");
  EXPECT_EQ(problem(""), "it ends too early (line 1, column 1)");
  EXPECT_EQ(problem("{\n\"a\": 1,\n}"), "unexpected '}', expected string literal (line 3, column 1)");
  EXPECT_EQ(problem("[1, // no\n2]"), "invalid literal, last read: '1, /' (line 1, column 5)");
  EXPECT_EQ(problem("[\"\xff\"]"), "it is not UTF-8 (line 1, column 3)");
  EXPECT_EQ(problem("[\"\\ud800\"]").substr(0, 24), "half of a surrogate pair");
  EXPECT_EQ(problem("[1e999]"), "a number is out of range");
  EXPECT_EQ(json_problem("something else"), "something else");
  EXPECT_EQ(json_problem(""), "");
}

}  // namespace
}  // namespace moebox

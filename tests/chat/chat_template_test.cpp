// Rendered prompts against transformers' own, for every template and conversation of tests/golden/chat.
#include "chat/chat_template.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/golden_chat.h"

namespace moebox {
namespace {

using golden::Json;

class Family : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { setenv("TZ", "UTC", 1); }
};

TEST_P(Family, RendersAsTransformersDoes) {
  const Json conversations = golden::read_json("conversations.json");
  const Json source = golden::read_json("sources.json").at(GetParam());
  const Json cases = golden::read_json("cases.json").at(GetParam());
  const std::string text = golden::read_file("templates/" + GetParam() + ".jinja");
  int rendered = 0;
  for (const auto& [name, expected] : cases.items()) {
    const bool prompt = name.back() == '+';
    const Json& conversation = conversations.at(prompt ? name.substr(0, name.size() - 1) : name);
    Json variables = conversation.value("variables", Json::object());
    variables["add_generation_prompt"] = prompt;
    const Json got = golden::outcome(text, source.at("bos"), source.at("eos"),
                                     golden::messages_of(conversation.at("messages")), golden::options_of(variables));
    EXPECT_TRUE(got.value("text", "") == expected.value("text", "") &&
                got.value("error", "") == expected.value("error", ""))
        << name << "\ngave     " << got << "\nexpected " << expected;
    if (expected.value("error", "") == "raised") {
      EXPECT_EQ(got.value("message", ""), expected.value("message", "")) << name;
    }
    rendered += expected.contains("text");
  }
  EXPECT_GE(rendered, 2);
}

INSTANTIATE_TEST_SUITE_P(Golden, Family, testing::ValuesIn(golden::families()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

TEST(TemplateLanguage, GivesWhatJinjaGives) {
  setenv("TZ", "UTC", 1);
  Json variables = golden::read_json("snippet_variables.json");
  const Json messages = variables.at("messages");
  variables.erase("messages");
  const Json snippets = golden::read_json("language.json");
  for (const Json& snippet : snippets) {
    const std::string source = snippet.at("template");
    const Json got = golden::outcome(source, "", "", golden::messages_of(messages), golden::options_of(variables));
    EXPECT_TRUE(got.value("text", "") == snippet.value("text", "") &&
                got.value("error", "") == snippet.value("error", ""))
        << source << "\ngave     " << got << "\nexpected " << snippet;
  }
}

}  // namespace
}  // namespace moebox

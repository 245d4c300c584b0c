#include "chat/reasoning.h"

#include <gtest/gtest.h>

#include "chat/chat_template.h"
#include "chat/fake_tokenizer.h"
#include "chat/golden_chat.h"
#include "chat/text_stream.h"

namespace moebox {
namespace {

struct Split {
  std::string reasoning, answer;
  int n_tokens = 0;
  bool operator==(const Split&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Split& split) {
  return out << '[' << split.reasoning << "] [" << split.answer << "] " << split.n_tokens;
}

/// `text` in pieces of `n` bytes, each a token; the last one is the decoder's rest when `with_rest`.
Split split(Reasoning begin, std::string_view text, std::size_t n, bool with_rest = false) {
  ReasoningSplitter splitter(begin);
  Split result;
  const auto add = [&](const ReasoningSplitter::Parts& parts) {
    result.reasoning += parts.reasoning;
    result.answer += parts.answer;
  };
  while (text.size() > (with_rest ? n : 0)) {
    add(splitter.push(text.substr(0, n)));
    text.remove_prefix(std::min(n, text.size()));
  }
  add(splitter.finish(text));
  result.n_tokens = splitter.n_reasoning_tokens();
  return result;
}

TEST(Reasoning, TheSplitDoesNotDependOnTokenBorders) {
  struct Case {
    Reasoning begin;
    const char *text, *reasoning, *answer;
  };
  using enum Reasoning;
  const Case cases[] = {
      {by_model, "<think>\nTwo and two.\n</think>\n\nIt is 4.\n", "Two and two.", "It is 4.\n"},
      {by_model, "\n <think>a</think>b", "a", "b"},
      {by_model, "<think></think>b", "", "b"},
      {by_model, "<think>\n\n</think>\n\nb", "", "b"},
      {by_model, "  It is <think>4</think>.", "", "  It is <think>4</think>."},
      {by_model, "<thinker>", "", "<thinker>"},
      {by_model, "<thi", "", "<thi"},
      {by_model, " \n", "", " \n"},
      {by_model, "", "", ""},
      {by_model, "<think>cut off </thi", "cut off </thi", ""},
      {by_model, "<think>a  \n", "a", ""},
      {by_model, "<think>a < b, </ c, </thin d\n\ne</think>f</think>g", "a < b, </ c, </thin d\n\ne", "f</think>g"},
      {open, "Two and two.\n</think>\n\nIt is 4.", "Two and two.", "It is 4."},
      {open, "\n<think>\nagain</think>x", "again", "x"},
      {open, "</think>x", "", "x"},
      {open, "<th", "<th", ""},
      {open, "never ends", "never ends", ""},
      {closed, "<think>a</think>b", "", "<think>a</think>b"},
      {closed, "\nb", "", "\nb"},
      {none, "<think>a</think>b", "", "<think>a</think>b"},
      {by_model, "<think>想一想</think>答案", "想一想", "答案"},
  };
  for (const Case& c : cases) {
    for (std::size_t n = 1; n < 12; ++n) {
      for (const bool with_rest : {false, true}) {
        const Split found = split(c.begin, c.text, n, with_rest);
        EXPECT_EQ(found.reasoning, c.reasoning) << c.text << " by " << n;
        EXPECT_EQ(found.answer, c.answer) << c.text << " by " << n;
      }
    }
  }
}

TEST(Reasoning, CountsTheTokensOfTheThinking) {
  EXPECT_EQ(split(Reasoning::by_model, "<think>ab</think>cd", 1), (Split{"ab", "cd", 17}));
  EXPECT_EQ(split(Reasoning::open, "ab</think>cd", 1), (Split{"ab", "cd", 10}));
  EXPECT_EQ(split(Reasoning::by_model, "abcd", 1), (Split{"", "abcd", 0}));
  EXPECT_EQ(split(Reasoning::open, "<th", 1), (Split{"<th", "", 3}));
}

TEST(Reasoning, NothingIsHeldBackThatIsNoMarker) {
  ReasoningSplitter splitter(Reasoning::by_model);
  EXPECT_EQ(splitter.push("<think>a<").reasoning, "a");
  EXPECT_EQ(splitter.push("b ").reasoning, "<b");
  EXPECT_EQ(splitter.push("c").reasoning, " c");
  EXPECT_EQ(splitter.push("</think>\n").answer, "");
  EXPECT_EQ(splitter.push("d").answer, "d");
  EXPECT_EQ(splitter.push("<").answer, "<");
}

TEST(Reasoning, ThePromptTellsHowTheAnswerBegins) {
  const std::string thinks = "{% if '</think>' in content %}...", plain = "{{ content }}";
  EXPECT_EQ(reasoning_after(plain, "<think>\n"), Reasoning::none);
  EXPECT_EQ(reasoning_after(thinks, "<|Assistant|>"), Reasoning::by_model);
  EXPECT_EQ(reasoning_after(thinks, "<|Assistant|><think>\n"), Reasoning::open);
  EXPECT_EQ(reasoning_after(thinks, "<|Assistant|><think>\n\n</think>\n\n"), Reasoning::closed);
  EXPECT_EQ(reasoning_after(thinks, "<|Assistant|></think>"), Reasoning::closed);
  EXPECT_EQ(reasoning_after(thinks, ""), Reasoning::by_model);
}

/// As DeepSeek-R1's template does it: earlier thinking is cut off, and the prompt opens one.
constexpr const char* r1_style =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<\uff5cUser\uff5c>{{ m.content }}"
    "{% else %}<\uff5cAssistant\uff5c>{{ m.content.split('</think>')[-1] }}<\uff5cend\u2581of\u2581sentence\uff5c>{% "
    "endif %}"
    "{% endfor %}{% if add_generation_prompt %}<\uff5cAssistant\uff5c><think>\n{% endif %}";

TEST(Reasoning, TemplatesOfThinkingModels) {
  const std::vector<ChatMessage> chat = {
      {"user", "<think>"}, {"assistant", "<think>hm</think>yes"}, {"user", "a </think>"}};
  const ChatTemplate r1(r1_style, "<bos>", "<eos>");
  const std::string prompt = r1.render(chat);
  EXPECT_EQ(prompt.find("hm"), std::string::npos);
  EXPECT_EQ(reasoning_after(r1.source(), prompt), Reasoning::open);

  const std::string qwen3 = golden::read_file("templates/qwen3.jinja");
  const ChatTemplate thinking(qwen3, "", "<|im_end|>");
  EXPECT_EQ(reasoning_after(qwen3, thinking.render(chat)), Reasoning::by_model);
  ChatTemplateOptions options;
  options.variables = {{"enable_thinking", false}};
  EXPECT_EQ(reasoning_after(qwen3, thinking.render(chat, options)), Reasoning::closed);

  const std::string v3 = golden::read_file("templates/deepseek_v3.jinja");
  EXPECT_EQ(reasoning_after(v3, ChatTemplate(v3, "", "").render(chat)), Reasoning::none);
}

TEST(Reasoning, StreamsOfTokensWithStopStringsAreDivided) {
  const auto tokenizer = std::make_shared<FakeTokenizer>(std::vector<std::string>{"<\uff5cAssistant\uff5c>"});
  TextStream stream(tokenizer, {"STOP"});
  ReasoningSplitter splitter(Reasoning::open);
  std::string reasoning, answer;
  const auto add = [&](const ReasoningSplitter::Parts& parts) {
    reasoning += parts.reasoning;
    answer += parts.answer;
    EXPECT_EQ(parts.reasoning.find('<'), std::string::npos);
  };
  for (const TokenId id : tokenizer->encode("\u60f3\u4e00\u60f3 ST\n</think>\n\n\u7b54\u6848 ST.STOP and more")) {
    const TextStream::Piece piece = stream.push(id);
    add(splitter.push(piece.text));
    if (piece.stopped) break;
  }
  add(splitter.finish(stream.finish()));
  EXPECT_EQ(reasoning, "\u60f3\u4e00\u60f3 ST");
  EXPECT_EQ(answer, "\u7b54\u6848 ST.");
}

}  // namespace
}  // namespace moebox

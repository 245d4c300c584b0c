// Templates that try to exhaust stack, time or memory, and clients that try to set what is not theirs.
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/chat_template.h"

namespace moebox {
namespace {

using Json = nlohmann::ordered_json;

std::string repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

/// The kind of error that rendering `source` gives; fails the test when it takes long.
ErrorKind failure(const std::string& source, TemplateLimits limits = {}, std::string* message = nullptr) {
  const auto begin = std::chrono::steady_clock::now();
  ErrorKind kind = ErrorKind::internal;
  try {
    const ChatTemplate parsed(source, "<s>", "</s>", limits);
    const RenderedPrompt prompt = parsed.render_marked({{"user", "hello", nullptr}});
    ADD_FAILURE() << "rendered " << prompt.text.size() << " bytes: " << source.substr(0, 200);
  } catch (const Error& error) {
    kind = error.kind();
    if (message != nullptr) *message = error.what();
  }
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(seconds, 30.0) << source.substr(0, 200);  // the limit is 2 s; a loaded machine may add to it
  return kind;
}

TEST(HostileTemplate, DeepNestingIsAnErrorNotAStackOverflow) {
  const int deep = 5500;
  for (const auto& [open, middle, close] : std::vector<std::array<std::string, 3>>{{"(", "1", ")"},
                                                                                   {"[", "1", "]"},
                                                                                   {"{1:", "1", "}"},
                                                                                   {"not ", "1", ""},
                                                                                   {"-", "1", ""},
                                                                                   {"1+", "1", ""},
                                                                                   {"x if y else ", "1", ""},
                                                                                   {"a.", "b", ""},
                                                                                   {"a|upper|", "upper", ""},
                                                                                   {"f(", "1", ")"},
                                                                                   {"1 and ", "1", ""},
                                                                                   {"1 < ", "1", ""},
                                                                                   {"a ~ ", "a", ""},
                                                                                   {"x[", "1", "]"},
                                                                                   {"2**", "1", ""},
                                                                                   {"x is defined and ", "1", ""}}) {
    const std::string source = "{{ " + repeat(open, deep) + middle + repeat(close, deep) + " }}";
    EXPECT_EQ(failure(source), ErrorKind::invalid_file) << open;
  }
  const std::string ifs = repeat("{% if 1 %}", deep), fors = repeat("{% for a in b %}", deep);
  EXPECT_EQ(failure(ifs + repeat("{% endif %}", deep)), ErrorKind::invalid_file);
  EXPECT_EQ(failure(fors + repeat("{% endfor %}", deep)), ErrorKind::invalid_file);
  EXPECT_EQ(failure("{% if 1 %}" + repeat("{% elif 1 %}", 60000) + "{% endif %}"), ErrorKind::invalid_file);
  EXPECT_EQ(failure("{% for " + repeat("(", 100000) + " in x %}{% endfor %}"), ErrorKind::invalid_file);
  EXPECT_EQ(failure(repeat("{% macro m() %}", deep) + repeat("{% endmacro %}", deep)), ErrorKind::invalid_file);
  EXPECT_EQ(failure(repeat("{% filter upper %}", deep) + repeat("{% endfilter %}", deep)), ErrorKind::invalid_file);
  EXPECT_EQ(failure(repeat("{% set x %}", deep) + repeat("{% endset %}", deep)), ErrorKind::invalid_file);
  EXPECT_EQ(failure(repeat("{% call m() %}", deep) + repeat("{% endcall %}", deep)), ErrorKind::invalid_file);
}

TEST(HostileTemplate, JustBelowTheNestingLimitsParses) {
  const std::string operators = "{{ 1" + repeat(" + 1", 1200) + " }}";
  EXPECT_EQ(ChatTemplate(operators, "", "").render({}), "1201");
  const std::string negations = "{{ " + repeat("not ", 2400) + "1 }}";
  EXPECT_EQ(ChatTemplate(negations, "", "").render({}), "True");
  const std::string mixed =
      "{{ 1" + repeat(" * 1", 1200) + " }}{{ x" + repeat("|default", 1200) + " }}{{ 1" + repeat(" and 1", 1200) + " }}";
  EXPECT_EQ(ChatTemplate(mixed, "", "").render({}), "11");
  const std::string choices = "{% if 0 %}" + repeat("{% elif 0 %}", 990) + "{% else %}e{% endif %}";
  EXPECT_EQ(ChatTemplate(choices, "", "").render({}), "e");
  const std::string ternaries = "{{ " + repeat("0 if 0 else ", 600) + "7 }}";
  EXPECT_EQ(ChatTemplate(ternaries, "", "").render({}), "7");
}

TEST(HostileTemplate, RecursionEnds) {
  EXPECT_EQ(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% macro m(x) %}{{ x(x) }}{% endmacro %}{{ m(m) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}x{% endmacro %}{{ m(100) }}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), ErrorKind::resource);
}

TEST(HostileTemplate, TimeEnds) {
  TemplateLimits limits;
  limits.time_ms = 200;
  const std::string loops = repeat("{% for i in range(100000) %}", 4);
  EXPECT_EQ(failure(loops + repeat("{% endfor %}", 4), limits), ErrorKind::resource);
  EXPECT_EQ(failure(loops + "{% set x = i * 2 %}" + repeat("{% endfor %}", 4), limits), ErrorKind::resource);
  EXPECT_EQ(
      failure("{% set s = 'ab' * 4000000 %}{% for i in range(100000) %}{{ s.count('b') and '' }}{% endfor %}", limits),
      ErrorKind::resource);
  EXPECT_EQ(failure("{% set l = range(100000) | list %}{% for i in range(100000) %}{{ (l | sort | reverse | list)[0] "
                    "and '' }}{% endfor %}",
                    limits),
            ErrorKind::resource);
}

TEST(HostileTemplate, SizesEnd) {
  EXPECT_EQ(failure("{{ range(10 ** 9) | list }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% for i in range(0, 10 ** 18) %}{% endfor %}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ 'a' * 10 ** 9 }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ 'a' * 9223372036854775807 }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ [1] * 10 ** 9 }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% for i in range(100000) %}" + std::string(1000, 'x') + "{% endfor %}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% set c %}{% for i in range(100000) %}" + std::string(10000, 'x') + "{% endfor %}{% endset %}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = 'ab' %}" + repeat("{% set x = x ~ x %}", 60) + "{{ x }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = 'ab' %}" + repeat("{% set x = x + x %}", 60)), ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = 'ab' %}" + repeat("{% set x %}{{ x }}{{ x }}{% endset %}", 60)), ErrorKind::resource);
  EXPECT_EQ(failure("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + ['x' * 1000000 ~ i] "
                    "%}{% endfor %}"),
            ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = 'ab' * 1000000 %}{{ x.replace('a', x) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = 'ab' * 1000000 %}{{ x.split('a') | join(x) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% set x = '\n' * 1000000 %}{{ x | indent(1000, blank=true) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ 'x'.center(10 ** 12) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ [1] | batch(10 ** 12, 'x') | list }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ [1] | slice(10 ** 12) | list }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ ['x' * 1000000] * 1000 | sum(start='') }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{{ (['x' * 1000000] * 1000) | sum(start='') }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ ('a,' * 8000000).split(',') }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ ('a\\n' * 8000000).splitlines() }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{% for c in 'a' * 16000000 %}{% endfor %}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ [[1] * 1000] * 1000 | tojson(indent=1000) }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{{ ([[1] * 1000] * 1000) | tojson(indent=1000) }}"), ErrorKind::resource);
  EXPECT_EQ(failure("{{ '%999999999d' % 1 }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{{ '%.999999999f' % 1 }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{{ strftime_now('%Y' * 1000) }}"), ErrorKind::resource);
  EXPECT_EQ(failure(std::string((1u << 20) + 1, ' ')), ErrorKind::resource);
}

TEST(HostileTemplate, DeepValuesEnd) {
  const std::string loop = "{% for i in range(100000) %}";
  for (const std::string value : {"[ns.x]", "{'a': ns.x}", "(ns.x,)", "[ns.x] | list", "[ns.x] | batch(1) | list"}) {
    EXPECT_EQ(failure("{% set ns = namespace(x=1) %}" + loop + "{% set ns.x = " + value + " %}{% endfor %}"),
              ErrorKind::invalid_argument)
        << value;
  }
  EXPECT_EQ(failure("{% set ns = namespace() %}{% set ns.x = ns %}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{% set ns = namespace() %}{% set ns.x = [{'a': (ns,)}] %}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure(repeat("{% set x = [x] %}", 30000)), ErrorKind::invalid_argument);
}

TEST(HostileTemplate, ArithmeticDoesNotWrap) {
  for (const std::string source :
       {"{{ 9223372036854775807 + 1 }}", "{{ 9223372036854775807 * 9223372036854775807 }}", "{{ 1 % 0 }}",
        "{{ 1 // 0 }}", "{{ 10 ** 400 }}", "{{ 'abc'[1:2:0] }}", "{{ range(1, 2, 0) }}"}) {
    const ErrorKind kind = failure(source);
    EXPECT_TRUE(kind == ErrorKind::invalid_argument || kind == ErrorKind::resource) << source;
  }
  const ChatTemplate slices("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}", "", "");
  EXPECT_EQ(slices.render({}), "a");
}

TEST(HostileTemplate, NothingOfTheEngineLeaks) {
  EXPECT_EQ(failure("{{ debug() }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{{ range }}"), ErrorKind::invalid_argument);
  EXPECT_EQ(failure("{% include 'x' %}"), ErrorKind::invalid_file);
  EXPECT_EQ(failure("{% extends 'x' %}"), ErrorKind::invalid_file);
  EXPECT_EQ(failure("{% import 'x' as y %}"), ErrorKind::invalid_file);
  EXPECT_EQ(failure("{% from 'x' import y %}"), ErrorKind::invalid_file);
}

TEST(HostileTemplate, FailuresOfOneThreadAreNotAnothers) {
  const ChatTemplate parsed(
      "{{ raise_exception('no') if messages[0].content == 'bad' else messages[0].content * 1000 }}", "", "");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string text = "text of thread " + std::to_string(t);
      for (int i = 0; i < 50; ++i) {
        try {
          const bool bad = i % 3 == 0;
          const RenderedPrompt prompt = parsed.render_marked({{"user", bad ? "bad" : text, nullptr}});
          if (bad || prompt.text != repeat(text, 1000) || prompt.outside.size() != 1) ++wrong;
        } catch (const Error& error) {
          if (i % 3 != 0 || error.message().find("no") == std::string::npos) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(HostileTemplate, ErrorsNameTheLine) {
  std::string message;
  EXPECT_EQ(failure("a\nb\n{{ 1 + 'x' }}\n", {}, &message), ErrorKind::invalid_argument);
  EXPECT_NE(message.find("line 3"), std::string::npos) << message;
  EXPECT_EQ(failure("a\n{% if %}", {}, &message), ErrorKind::invalid_file);
  EXPECT_NE(message.find("line 2"), std::string::npos) << message;
  EXPECT_EQ(failure("\xff\xfe", {}, &message), ErrorKind::invalid_file);
}

TEST(HostileClient, CannotSetWhatTheRendererSets) {
  const ChatTemplate parsed("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{{ x }}",
                            "<s>", "</s>");
  const std::vector<ChatMessage> messages{{"user", "hi", nullptr}};
  for (const char* name : {"messages",
                           "tools",
                           "documents",
                           "add_generation_prompt",
                           "bos_token",
                           "eos_token",
                           "tokenize",
                           "chat_template",
                           "raise_exception",
                           "range",
                           "namespace",
                           "strftime_now",
                           "loop",
                           "self",
                           "+",
                           "[]",
                           "for ",
                           "",
                           "a-b",
                           "1a"}) {
    ChatTemplateOptions options;
    options.variables = Json{{name, "x"}};
    try {
      parsed.render(messages, options);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << name;
    }
  }
  ChatTemplateOptions options;
  options.variables = Json{{"x", "!"}};
  EXPECT_EQ(parsed.render(messages, options), "<s>user: hi!");
}

TEST(HostileClient, CannotNestWithoutEnd) {
  const ChatTemplate parsed("{{ messages | tojson }}{{ x | tojson }}{{ tools | tojson }}", "", "");
  Json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
  ChatTemplateOptions variables, tools;
  variables.variables = Json{{"x", deep}};
  tools.tools = Json::array({deep});
  EXPECT_THROW(parsed.render({}, variables), Error);
  EXPECT_THROW(parsed.render({}, tools), Error);
  EXPECT_THROW(parsed.render({{"user", "x", Json{{"y", deep}}}}), Error);
  EXPECT_THROW(parsed.render({{"user", "x", Json{{"role", "system"}}}}), Error);
  EXPECT_THROW(parsed.render({{"user", "x", Json{{"content", "y"}}}}), Error);
  EXPECT_THROW(parsed.render({{"user", "x", Json::array()}}), Error);
}

TEST(HostileClient, InvalidUtf8BecomesReplacementCharacters) {
  const ChatTemplate parsed("{% for m in messages %}{{ m.content }}{% endfor %}", "", "");
  EXPECT_EQ(parsed.render({{"user", "a\xff z\xe4\xb8", nullptr}}), "a\xef\xbf\xbd z\xef\xbf\xbd");
}

}  // namespace
}  // namespace moebox

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "server/request.h"

namespace moebox {
namespace {

const ServerLimits limits;

ApiRequest chat(const std::string& more) {
  return parse_api_request(Endpoint::chat,
                           R"({"messages":[{"role":"user","content":"hi"}])" + (more.empty() ? "" : "," + more) + "}",
                           limits);
}

ApiRequest completion(const std::string& more) {
  return parse_api_request(Endpoint::completions, R"({"prompt":"hi")" + (more.empty() ? "" : "," + more) + "}", limits);
}

template <class Parse>
ApiError refusal_of(Parse parse, const std::string& text) {
  try {
    parse(text);
  } catch (const ApiException& error) {
    EXPECT_EQ(error.error().type, "invalid_request_error");
    EXPECT_EQ(error.error().status, 400);
    return error.error();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

TEST(RequestParser, ReadsEveryField) {
  const ApiRequest in = chat(
      R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,"typical_p":0.8,"repetition_penalty":1.1,
    "frequency_penalty":-0.5,"presence_penalty":1.5,"logit_bias":{"5":-100,"7":2.5},"max_completion_tokens":12,"ignore_eos":true,
    "seed":42,"stop":["a","b"],"stop_token_ids":[3],"n":3,"logprobs":true,"top_logprobs":2,"stream":true,"stream_options":{"include_usage":true},
    "user":"u","chat_template_kwargs":{"enable_thinking":false},"skip_special_tokens":false,
    "moe":{"top_p":0.7,"threshold":0.125,"min_experts":2,"max_experts":6})");
  EXPECT_EQ(in.model, "m");
  EXPECT_EQ(in.budget, (RoutingBudget{0.7f, 0.125f, 2, 6}));
  EXPECT_FLOAT_EQ(in.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(in.sampling.top_p, 0.9f);
  EXPECT_EQ(in.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(in.sampling.min_p, 0.05f);
  EXPECT_FLOAT_EQ(in.sampling.typical_p, 0.8f);
  EXPECT_FLOAT_EQ(in.sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(in.sampling.frequency_penalty, -0.5f);
  EXPECT_FLOAT_EQ(in.sampling.presence_penalty, 1.5f);
  EXPECT_EQ(in.sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{5, -100.f}, {7, 2.5f}}));
  EXPECT_EQ(in.max_tokens, 12);
  EXPECT_TRUE(in.ignore_eos);
  EXPECT_EQ(in.sampling.seed, 42u);
  EXPECT_EQ(in.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(in.stop_token_ids, std::vector<TokenId>{3});
  EXPECT_EQ(in.n, 3);
  EXPECT_TRUE(in.logprobs);
  EXPECT_EQ(in.sampling.n_logprobs, 2);
  EXPECT_TRUE(in.stream);
  EXPECT_TRUE(in.include_usage);
  EXPECT_FALSE(in.skip_special_tokens);
  EXPECT_EQ(in.template_options.variables, nlohmann::ordered_json({{"enable_thinking", false}}));
  EXPECT_TRUE(in.unknown_fields.empty());
}

TEST(RequestParser, ABudgetTakesTheDefaultsPlace) {
  EXPECT_FALSE(chat("").budget);
  EXPECT_FALSE(chat(R"("moe":null)").budget);
  EXPECT_EQ(chat(R"("moe":{})").budget, RoutingBudget{});
  EXPECT_EQ(chat(R"("moe":{"max_experts":2})").budget, (RoutingBudget{.max_experts = 2}));
}

TEST(RequestParser, DefaultsAreOpenAis) {
  const ApiRequest in = chat("");
  EXPECT_EQ(in.n, 1);
  EXPECT_FALSE(in.max_tokens);
  EXPECT_FALSE(in.stream);
  EXPECT_EQ(in.sampling.n_logprobs, -1);
  EXPECT_FLOAT_EQ(in.sampling.temperature, 1);
  EXPECT_EQ(completion("").max_tokens, 16);
}

TEST(RequestParser, NullIsAbsent) {
  const ApiRequest in = chat(
      R"("temperature":null,"stop":null,"max_tokens":null,"tools":null,"response_format":null,"seed":null,"n":null,"stream":null,"logit_bias":null)");
  EXPECT_FLOAT_EQ(in.sampling.temperature, 1);
  EXPECT_FALSE(in.max_tokens);
}

TEST(RequestParser, NegativeSeedsAreSeeds) {
  EXPECT_EQ(chat(R"("seed":-1)").sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(chat(R"("seed":18446744073709551615)").sampling.seed, ~std::uint64_t{0});
}

TEST(RequestParser, ReadsMessages) {
  const ApiRequest in = parse_api_request(Endpoint::chat, R"({"messages":[
    {"role":"developer","content":"be brief"},
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"kim"},
    {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"1","content":"42"}]})",
                                          limits);
  ASSERT_EQ(in.messages.size(), 4u);
  EXPECT_EQ(in.messages[0].role, "system");
  EXPECT_EQ(in.messages[1].content, "a\nb");
  EXPECT_EQ(in.messages[1].extra["name"], "kim");
  EXPECT_EQ(in.messages[2].content, "");
  EXPECT_TRUE(in.messages[2].extra.at("content").is_null());
  EXPECT_EQ(in.messages[2].extra["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(in.messages[3].extra["tool_call_id"], "1");
  const ApiRequest refused =
      parse_api_request(Endpoint::chat, R"({"messages":[{"role":"assistant","content":null,"refusal":"no"}]})", limits);
  EXPECT_EQ(refused.messages[0].content, "no");
}

TEST(RequestParser, ReadsPrompts) {
  const auto parse = [](const std::string& prompt) {
    return parse_api_request(Endpoint::completions, "{\"prompt\":" + prompt + "}", limits).prompts;
  };
  EXPECT_EQ(parse(R"("a")"), (std::vector<Prompt>{"a"}));
  EXPECT_EQ(parse(R"(["a","b"])"), (std::vector<Prompt>{"a", "b"}));
  EXPECT_EQ(parse("[1,2]"), (std::vector<Prompt>{std::vector<TokenId>{1, 2}}));
  EXPECT_EQ(parse("[[1],[2,3]]"), (std::vector<Prompt>{std::vector<TokenId>{1}, std::vector<TokenId>{2, 3}}));
}

TEST(RequestParser, UnknownFieldsAreRemembered) {
  EXPECT_EQ(chat(R"("frobnicate":1)").unknown_fields, std::vector<std::string>{"frobnicate"});
  EXPECT_TRUE(chat(R"("user":"x","metadata":{"a":"b"},"store":false)").unknown_fields.empty());
}

struct Bad {
  const char* text;
  const char* param;
};

TEST(RequestParser, RefusesBadChatFields) {
  const Bad cases[] = {{R"("temperature":"hot")", "temperature"},
                       {R"("temperature":-0.1)", "temperature"},
                       {R"("temperature":2.1)", "temperature"},
                       {R"("temperature":true)", "temperature"},
                       {R"("temperature":[1])", "temperature"},
                       {R"("top_p":1.5)", "top_p"},
                       {R"("top_k":1.5)", "top_k"},
                       {R"("top_k":-2)", "top_k"},
                       {R"("n":0)", "n"},
                       {R"("n":1000000)", "n"},
                       {R"("n":2147483648)", "n"},
                       {R"("n":18446744073709551615)", "n"},
                       {R"("max_tokens":0)", "max_tokens"},
                       {R"("max_tokens":-1)", "max_tokens"},
                       {R"("max_tokens":1e3)", "max_tokens"},
                       {R"("max_tokens":2147483648)", "max_tokens"},
                       {R"("max_tokens":5,"max_completion_tokens":6)", "max_tokens"},
                       {R"("seed":1.5)", "seed"},
                       {R"("seed":1e30)", "seed"},
                       {R"("seed":"1")", "seed"},
                       {R"("stop":"")", "stop"},
                       {R"("stop":[""])", "stop[0]"},
                       {R"("stop":[1])", "stop[0]"},
                       {R"("stop":{})", "stop"},
                       {R"("logit_bias":{"a":1})", "logit_bias"},
                       {R"("logit_bias":{"-1":1})", "logit_bias"},
                       {R"("logit_bias":{"1":101})", "logit_bias"},
                       {R"("logit_bias":[1])", "logit_bias"},
                       {R"("logit_bias":{"99999999999":1})", "logit_bias"},
                       {R"("logprobs":5)", "logprobs"},
                       {R"("top_logprobs":21,"logprobs":true)", "top_logprobs"},
                       {R"("top_logprobs":2)", "top_logprobs"},
                       {R"("stream":1)", "stream"},
                       {R"("stream_options":{"include_usage":true})", "stream_options"},
                       {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
                       {R"("model":5)", "model"},
                       {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
                       {R"("stop_token_ids":[-1])", "stop_token_ids"},
                       {R"("repetition_penalty":0)", "repetition_penalty"},
                       {R"("presence_penalty":2.5)", "presence_penalty"},
                       {R"("min_p":-1)", "min_p"},
                       {R"("moe":[])", "moe"},
                       {R"("moe":{"top_p":1.5})", "moe.top_p"},
                       {R"("moe":{"top_p":"1"})", "moe.top_p"},
                       {R"("moe":{"top_p":0})", "moe.top_p"},
                       {R"("moe":{"threshold":-0.5})", "moe.threshold"},
                       {R"("moe":{"threshold":1})", "moe.threshold"},
                       {R"("moe":{"min_experts":0})", "moe.min_experts"},
                       {R"("moe":{"max_experts":1.5})", "moe.max_experts"},
                       {R"("moe":{"max_experts":99999})", "moe.max_experts"},
                       {R"("moe":{"top_k":2})", "moe.top_k"}};
  for (const Bad& bad : cases) EXPECT_EQ(refusal_of(chat, bad.text).param, bad.param) << bad.text;
}

TEST(RequestParser, BudgetsHaveTheEnginesLimits) {
  for (const double value : {-1.0, 0.0, 0.001, 0.5, 0.999, 1.0, 1.5}) {
    const std::string text = nlohmann::json(value).dump();
    for (const char* field : {"top_p", "threshold"}) {
      RoutingBudget budget;
      (field == std::string("top_p") ? budget.top_p : budget.threshold) = static_cast<float>(value);
      bool engine_takes = true, api_takes = true;
      try {
        budget.validate(8);
      } catch (const Error&) {
        engine_takes = false;
      }
      try {
        chat("\"moe\":{\"" + std::string(field) + "\":" + text + "}");
      } catch (const ApiException&) {
        api_takes = false;
      }
      EXPECT_EQ(api_takes, engine_takes) << field << " " << text;
    }
  }
  EXPECT_EQ(refusal_of(chat, R"("moe":{"top_p":0})").message, "'moe.top_p' must be a number above 0 and at most 1.");
}

TEST(RequestParser, RefusesWhatWouldChangeTheAnswer) {
  const Bad cases[] = {{R"("tools":[{"type":"function"}])", "tools"},
                       {R"("tool_choice":"required")", "tool_choice"},
                       {R"("functions":[{}])", "functions"},
                       {R"("response_format":{"type":"json_object"})", "response_format"},
                       {R"("response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
                       {R"("guided_json":{})", "guided_json"},
                       {R"("guided_regex":"a")", "guided_regex"},
                       {R"("audio":{"voice":"x"})", "audio"},
                       {R"("modalities":["text","audio"])", "modalities"},
                       {R"("reasoning_effort":"high")", "reasoning_effort"},
                       {R"("prediction":{})", "prediction"},
                       {R"("web_search_options":{})", "web_search_options"},
                       {R"("best_of":2)", "best_of"},
                       {R"("prompt_logprobs":1)", "prompt_logprobs"},
                       {R"("chat_template":"x")", "chat_template"},
                       {R"("min_tokens":3)", "min_tokens"},
                       {R"("echo":true)", "echo"}};
  for (const Bad& bad : cases) {
    const ApiError error = refusal_of(chat, bad.text);
    EXPECT_EQ(error.param, bad.param) << bad.text;
    EXPECT_EQ(error.code, "unsupported_parameter") << bad.text;
    EXPECT_NE(error.message.find("not supported"), std::string::npos) << error.message;
  }
}

TEST(RequestParser, LetsHarmlessValuesThrough) {
  for (const char* text : {R"("tools":[])", R"("tool_choice":"none")", R"("response_format":{"type":"text"})",
                           R"("modalities":["text"])", R"("best_of":1)", R"("min_tokens":0)",
                           R"("use_beam_search":false)", R"("length_penalty":1.0)", R"("parallel_tool_calls":true)"}) {
    EXPECT_NO_THROW(chat(text)) << text;
  }
}

TEST(RequestParser, RefusesBadMessages) {
  const auto parse = [](const std::string& messages) {
    return parse_api_request(Endpoint::chat, "{\"messages\":" + messages + "}", limits);
  };
  const Bad cases[] = {
      {"[]", "messages"},
      {"{}", "messages"},
      {"\"hi\"", "messages"},
      {"[1]", "messages[0]"},
      {"[{}]", "messages[0]"},
      {R"([{"role":"user"}])", "messages[0]"},
      {R"([{"role":"king","content":"x"}])", "messages[0].role"},
      {R"([{"role":1,"content":"x"}])", "messages[0].role"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":null}])", "messages[1]"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"text","text":1}]}])", "messages[0].content[0].text"},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":"x","name":7}])", "messages[0].name"},
      {R"([{"role":"assistant"}])", "messages[0]"},
      {R"([{"role":"user","content":"a"},{"role":"assistant","content":null}])", "messages[1]"},
      {R"([{"role":"assistant","tool_calls":[]}])", "messages[0]"},
      {R"([{"role":"assistant","tool_calls":null,"reasoning_content":"hm"}])", "messages[0]"},
      {R"([{"role":"assistant","refusal":1}])", "messages[0].refusal"}};
  for (const Bad& bad : cases) EXPECT_EQ(refusal_of(parse, bad.text).param, bad.param) << bad.text;
  EXPECT_EQ(refusal_of(parse, R"([{"role":"assistant"}])").message, "'messages[0]' needs 'content' or 'tool_calls'.");
}

TEST(RequestParser, BoundsTheTemplatesVariables) {
  const auto body = [](int n) {
    std::string names;
    for (int i = 0; i < n; ++i) names += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":1";
    return R"({"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":{)" + names + "}}";
  };
  const auto parse = [](const std::string& text) { return parse_api_request(Endpoint::chat, text, limits); };
  EXPECT_EQ(parse(body(limits.template_variables)).template_options.variables.size(),
            static_cast<std::size_t>(limits.template_variables));
  EXPECT_EQ(refusal_of(parse, body(limits.template_variables + 1)).param, "chat_template_kwargs");
}

TEST(RequestParser, RefusesBadPrompts) {
  const auto parse = [](const std::string& body) { return parse_api_request(Endpoint::completions, body, limits); };
  std::string many = "{\"prompt\":[\"a\"";
  for (int i = 0; i < limits.choices; ++i) many += ",\"a\"";
  many += "]}";
  const Bad cases[] = {{"{}", "prompt"},
                       {R"({"prompt":null})", "prompt"},
                       {R"({"prompt":[]})", "prompt"},
                       {R"({"prompt":{}})", "prompt"},
                       {R"({"prompt":[1,"a"]})", "prompt"},
                       {R"({"prompt":["a",1]})", "prompt[1]"},
                       {R"({"prompt":[-1]})", "prompt"},
                       {R"({"prompt":[1.5]})", "prompt"},
                       {R"({"prompt":[2147483648]})", "prompt"},
                       {R"({"prompt":[[1],"a",[null]]})", "prompt[2]"},
                       {many.c_str(), "prompt"},
                       {R"({"prompt":["a","b"],"n":100})", "n"},
                       {R"({"prompt":"a","echo":true,"logprobs":1})", "echo"},
                       {R"({"prompt":[1],"suffix":"b"})", "suffix"},
                       {R"({"prompt":"a","logprobs":true})", "logprobs"},
                       {"[]", ""},
                       {"5", ""}};
  for (const Bad& bad : cases) EXPECT_EQ(refusal_of(parse, bad.text).param, bad.param) << bad.text;
}

TEST(RequestParser, LimitsBelongToTheServer) {
  ServerLimits strict;
  strict.output_tokens = 10;
  strict.stop_strings = 1;
  const auto parse = [&](const std::string& more) {
    return parse_api_request(Endpoint::completions, R"({"prompt":"a",)" + more + "}", strict);
  };
  EXPECT_EQ(refusal_of(parse, R"("max_tokens":11)").param, "max_tokens");
  EXPECT_EQ(refusal_of(parse, R"("stop":["a","b"])").param, "stop");
  EXPECT_EQ(parse(R"("n":1)").max_tokens, 10);
}

TEST(RequestParser, TokenizeTakesTextOrMessages) {
  const auto parse = [](const std::string& body) { return parse_api_request(Endpoint::tokenize, body, limits); };
  EXPECT_EQ(parse(R"({"prompt":"a","add_special_tokens":false})").add_special_tokens, false);
  EXPECT_EQ(parse(R"({"messages":[{"role":"user","content":"a"}]})").messages.size(), 1u);
  EXPECT_EQ(refusal_of(parse, R"({"prompt":"a","messages":[{"role":"user","content":"a"}]})").param, "prompt");
  EXPECT_EQ(refusal_of(parse, "{}").param, "prompt");
  EXPECT_EQ(parse_api_request(Endpoint::detokenize, R"({"tokens":[1,2]})", limits).tokens,
            (std::vector<TokenId>{1, 2}));
}

}  // namespace
}  // namespace moebox

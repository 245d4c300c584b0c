#include "server/responses.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "fake_backend.h"
#include "server/router.h"
#include "server/sse.h"

namespace moebox {
namespace {

using nlohmann::json;

GeneratedToken token(TokenId id, float logprob, std::vector<TokenLogprob> top = {}) {
  return {id, logprob, std::move(top)};
}

TEST(Sse, FramesOneLine) {
  EXPECT_EQ(sse_event("{}"), "data: {}\n\n");
  EXPECT_EQ(sse_done(), "data: [DONE]\n\n");
  EXPECT_EQ(sse_ping().front(), ':');
  // Line breaks of the text cannot end an event early: JSON writes them as \n.
  ChoiceNews news;
  news.text = "a\n\ndata: b\r";
  const std::string text = to_text(chunk_json(Endpoint::chat, news));
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(json::parse(text)["delta"]["content"], "a\n\ndata: b\r");
}

TEST(Responses, ErrorsHaveOpenAisShape) {
  const json body = json::parse(bad_request("no", "n", "c").body());
  EXPECT_EQ(body, json::parse(R"({"error":{"message":"no","type":"invalid_request_error","param":"n","code":"c"}})"));
  EXPECT_TRUE(json::parse(bad_request("no").body())["error"]["param"].is_null());
}

TEST(Responses, InternalErrorsTellNothing) {
  for (const ErrorKind kind :
       {ErrorKind::internal, ErrorKind::io, ErrorKind::invalid_file, ErrorKind::network, ErrorKind::not_found}) {
    const ApiError error = to_api_error(Error(kind, "at 0x7ffdeadbeef", "/etc/secret"), "req_1");
    EXPECT_EQ(error.status, 500);
    EXPECT_EQ(error.message.find("0x7f"), std::string::npos);
    EXPECT_EQ(error.body().find("secret"), std::string::npos);
    EXPECT_NE(error.message.find("req_1"), std::string::npos);
  }
  EXPECT_EQ(to_api_error(Error(ErrorKind::invalid_argument, "bad", "/a/path"), "r").body().find("path"),
            std::string::npos);
  EXPECT_EQ(to_api_error(Error(ErrorKind::invalid_argument, "bad", "top_p"), "r").param, "top_p");
}

TEST(Responses, ChatLogprobsHaveBytesAndTops) {
  const test::ByteTokenizer tokenizer;
  const GeneratedToken tokens[] = {token('A', -0.25f, {{'A', -0.25f}, {0xe4, -2.f}}),
                                   token(0xbd, -std::numeric_limits<float>::infinity())};
  const json logprobs = chat_logprobs(tokenizer, tokens);
  ASSERT_EQ(logprobs["content"].size(), 2u);
  EXPECT_EQ(logprobs["content"][0]["token"], "A");
  EXPECT_EQ(logprobs["content"][0]["bytes"], json({65}));
  EXPECT_DOUBLE_EQ(logprobs["content"][0]["logprob"], -0.25);
  EXPECT_EQ(logprobs["content"][0]["top_logprobs"][1]["token"], "bytes:\\xe4");
  EXPECT_EQ(logprobs["content"][0]["top_logprobs"][1]["bytes"], json({0xe4}));
  EXPECT_DOUBLE_EQ(logprobs["content"][1]["logprob"], -9999.0);
}

TEST(Responses, CompletionLogprobsCountCharacters) {
  const test::ByteTokenizer tokenizer;
  long long offset = 3;
  const GeneratedToken tokens[] = {token('a', -1, {{'b', -0.5f}}), token('b', -2)};
  const json logprobs = completion_logprobs(tokenizer, tokens, offset);
  EXPECT_EQ(logprobs["tokens"], json({"a", "b"}));
  EXPECT_EQ(logprobs["text_offset"], json({3, 4}));
  EXPECT_EQ(offset, 5);
  EXPECT_TRUE(logprobs["top_logprobs"][0].contains("a")) << "the chosen token is always listed";
  EXPECT_TRUE(logprobs["top_logprobs"][0].contains("b"));
}

TEST(Responses, WholeAnswers) {
  const AnswerHead head{Endpoint::chat, "chatcmpl-1", 7, "m"};
  ChoiceNews news;
  news.text = "hi";
  news.finish = "stop";
  const json answer = answer_json(head, Json::array({choice_json(Endpoint::chat, news)}), {3, 2, 1, {}, {}});
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "hi");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"], json::parse(R"({"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,
                                             "prompt_tokens_details":{"cached_tokens":1}})"));
}

TEST(Responses, IdsAreRandom) {
  EXPECT_NE(random_id("x-"), random_id("x-"));
  EXPECT_EQ(random_id("x-").size(), 26u);
}

TEST(Router, MatchesWholePathsOnly) {
  EXPECT_EQ(find_route("POST", "/v1/chat/completions").route->endpoint, Endpoint::chat);
  EXPECT_EQ(find_route("HEAD", "/v1/models").route->endpoint, Endpoint::models);
  EXPECT_EQ(find_route("GET", "/v1/models/owner/name").id, "owner/name");
  EXPECT_EQ(find_route("GET", "/v1/chat/completions").route, nullptr);
  EXPECT_EQ(find_route("GET", "/v1/chat/completions").allowed, "POST");
  for (const char* path : {"", "/", "*", "/v1", "/v1/models/", "//v1/models", "/v1/../v1/models", "/V1/models",
                           "/v1/models;x", "/health/", "/v1/chat/completions/x"}) {
    const RouteMatch match = find_route("GET", path);
    EXPECT_TRUE(match.route == nullptr && match.allowed.empty()) << path;
  }
}

TEST(Router, OnlyProbesNeedNoKey) {
  for (const char* path : {"/v1/models", "/v1/models/x", "/metrics"})
    EXPECT_TRUE(find_route("GET", path).route->needs_key) << path;
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"})
    EXPECT_TRUE(find_route("POST", path).route->needs_key) << path;
  for (const char* path : {"/health", "/ready"}) EXPECT_FALSE(find_route("GET", path).route->needs_key) << path;
}

}  // namespace
}  // namespace moebox

// The server over real sockets: HTTP, keys, limits. The model is a fake.
#include <gtest/gtest.h>

#include "server/keys.h"
#include "test_server.h"

namespace moebox {
namespace {

using namespace test;
using nlohmann::json;
using namespace std::chrono_literals;

const std::string hello = R"({"messages":[{"role":"user","content":"hi"}]})";

json error_of(std::string_view response) { return json::parse(body_of(response))["error"]; }

TEST(ServerHttp, AnswersAChat) {
  const TestServer server;
  const std::string response = server.exchange(post("/v1/chat/completions", hello));
  EXPECT_EQ(status_of(response), 200);
  const json answer = json::parse(body_of(response));
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Hello, world");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["model"], "fake");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 1 + 9);       // <s>, "user: hi\n"
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12 + 1);  // the text and the token that ended it
  EXPECT_NE(response.find("X-Request-Id: req_"), std::string::npos);
}

TEST(ServerHttp, Completions) {
  const TestServer server;
  const auto complete = [&](const std::string& body) {
    return json::parse(body_of(server.exchange(post("/v1/completions", body))));
  };
  json answer = complete(R"({"prompt":"ab","max_tokens":4})");
  EXPECT_EQ(answer["choices"][0]["text"], "Hell");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"], json::parse(R"({"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,
                                             "prompt_tokens_details":{"cached_tokens":0}})"));

  answer = complete(R"({"prompt":["a","b"],"n":2,"max_tokens":2,"echo":true})");
  ASSERT_EQ(answer["choices"].size(), 4u);
  EXPECT_EQ(answer["choices"][0]["text"], "aHe");
  EXPECT_EQ(answer["choices"][3]["text"], "bHe");
  EXPECT_EQ(answer["choices"][3]["index"], 3);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);

  answer = complete(R"({"prompt":"ab","stop":"lo","max_tokens":20})");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 5)
      << "the stop string's tokens were generated; no other token ended it";

  answer = complete(R"({"prompt":[104,105],"logprobs":2,"max_tokens":2})");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["tokens"], json({"H", "e"}));
  EXPECT_EQ(answer["choices"][0]["logprobs"]["text_offset"], json({0, 1}));
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);

  answer = complete(R"({"prompt":"ab","suffix":"cd","max_tokens":1})");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 7) << "three tokens around prefix and suffix";
}

TEST(ServerHttp, ErrorsNameTheirField) {
  const TestServer server;
  struct Case {
    const char *path, *body;
    int status;
    const char *param, *code;
  };
  const Case cases[] = {
      {"/v1/chat/completions", R"({"messages":[]})", 400, "messages", "invalid_value"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"temperature":9})", 400, "temperature",
       "invalid_value"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"model":"gpt-9"})", 404, "model",
       "model_not_found"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"max_tokens":5000})", 400, "messages",
       "context_length_exceeded"},
      {"/v1/completions", R"({"prompt":[5000]})", 400, "prompt", "invalid_value"},
      {"/v1/completions", R"({"prompt":[]})", 400, "prompt", "invalid_value"},
      {"/v1/completions", R"({"prompt":"","add_special_tokens":false})", 400, "prompt", "invalid_value"},
      {"/v1/completions", R"({"prompt":"a","logit_bias":{"5000":1}})", 400, "logit_bias", nullptr},
      {"/v1/completions", R"({"prompt":"a","stop_token_ids":[5000]})", 400, "stop_token_ids", "invalid_value"},
      {"/detokenize", R"({"tokens":[5000]})", 400, "tokens", "invalid_value"},
  };
  for (const Case& c : cases) {
    const std::string response = server.exchange(post(c.path, c.body));
    EXPECT_EQ(status_of(response), c.status) << c.body;
    const json error = error_of(response);
    EXPECT_EQ(error["type"], "invalid_request_error") << c.body;
    EXPECT_EQ(error["param"], c.param) << c.body;
    if (c.code != nullptr) {
      EXPECT_EQ(error["code"], c.code) << c.body;
    }
  }
  const std::string prompt(5000, 'x');
  EXPECT_EQ(error_of(server.exchange(post("/v1/completions", "{\"prompt\":\"" + prompt + "\"}")))["code"],
            "context_length_exceeded");
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", "{"))), 400);
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", ""))), 400);
}

TEST(ServerHttp, ASuffixThatTheModelCannotFillIsNamed) {
  FakeBehaviour behaviour;
  behaviour.fills_in = false;
  const TestServer server(test_options(), behaviour);
  const std::string response = server.exchange(post("/v1/completions", R"({"prompt":"a","suffix":"b"})"));
  EXPECT_EQ(status_of(response), 400);
  EXPECT_EQ(error_of(response)["param"], "suffix");
  EXPECT_EQ(error_of(response)["code"], "unsupported");
}

TEST(ServerHttp, AMessageThatOnlyCallsToolsSuitsEveryTemplate) {
  const std::string body =
      R"({"messages":[{"role":"user","content":"a"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}]})";
  for (const bool prints_null : {true, false}) {
    FakeBehaviour behaviour;
    behaviour.prints_null = prints_null;
    const TestServer server(test_options(), behaviour);
    EXPECT_EQ(status_of(server.exchange(post("/v1/chat/completions", body))), 200);
    EXPECT_EQ(status_of(server.exchange(post("/tokenize", body))), 200);
  }
}

TEST(ServerHttp, ThinkingComesApart) {
  FakeBehaviour behaviour;
  behaviour.reasoning = Reasoning::by_model;
  behaviour.reply = "<think>\nTwo and two.\n</think>\n\nIt is 4.";
  const TestServer server(test_options(), behaviour);
  json answer = json::parse(body_of(server.exchange(post("/v1/chat/completions", hello))));
  EXPECT_EQ(answer["choices"][0]["message"]["reasoning_content"], "Two and two.");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "It is 4.");
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 29);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 39 + 1);

  const std::string cut = R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":20})";
  answer = json::parse(body_of(server.exchange(post("/v1/chat/completions", cut))));
  EXPECT_EQ(answer["choices"][0]["message"]["reasoning_content"], "Two and two.");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 20);

  answer = json::parse(body_of(server.exchange(post("/v1/completions", R"({"prompt":"a","max_tokens":99})"))));
  EXPECT_EQ(answer["choices"][0]["text"], behaviour.reply) << "a completion is text as it comes";
  EXPECT_FALSE(answer["usage"].contains("completion_tokens_details"));
  const std::string no_prompt = R"({"messages":[{"role":"user","content":"hi"}],"add_generation_prompt":false})";
  answer = json::parse(body_of(server.exchange(post("/v1/chat/completions", no_prompt))));
  EXPECT_EQ(answer["choices"][0]["message"]["content"], behaviour.reply);
}

TEST(ServerHttp, TokenizesLikeVllm) {
  const TestServer server;
  json answer = json::parse(body_of(server.exchange(post("/tokenize", R"({"prompt":"hi","return_token_strs":true})"))));
  EXPECT_EQ(answer,
            json::parse(R"({"count":3,"max_model_len":4096,"tokens":[256,104,105],"token_strs":["<s>","h","i"]})"));
  answer = json::parse(body_of(server.exchange(post("/detokenize", R"({"tokens":[256,104,105]})"))));
  EXPECT_EQ(answer, json::parse(R"({"prompt":"<s>hi"})"));
}

TEST(ServerHttp, ListsModels) {
  const TestServer server;
  const json list = json::parse(body_of(server.exchange(get("/v1/models"))));
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "fake");
  EXPECT_EQ(json::parse(body_of(server.exchange(get("/v1/models/alias"))))["id"], "fake");
  EXPECT_EQ(status_of(server.exchange(get("/v1/models/none"))), 404);
  EXPECT_EQ(server.exchange(get("/v1/models")).find("/no/such/path"), std::string::npos);
}

TEST(ServerHttp, MethodsAndPaths) {
  const TestServer server;
  EXPECT_EQ(status_of(server.exchange(get("/nothing"))), 404);
  const std::string wrong = server.exchange(get("/v1/chat/completions"));
  EXPECT_EQ(status_of(wrong), 405);
  EXPECT_NE(wrong.find("Allow: POST, OPTIONS\r\n"), std::string::npos);
  EXPECT_EQ(status_of(server.exchange("DELETE /health HTTP/1.1\r\nHost: localhost\r\n\r\n")), 405);
  EXPECT_EQ(status_of(server.exchange("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n")), 404);
  EXPECT_EQ(status_of(server.exchange("OPTIONS /health HTTP/1.1\r\nHost: localhost\r\n\r\n")), 204);
  EXPECT_EQ(status_of(server.exchange("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")), 204);
  RawClient client(server.port());
  client.send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string head = client.receive_until("\r\n\r\n");
  EXPECT_EQ(status_of(head), 200);
  EXPECT_EQ(body_of(head) + client.receive(50), "");
  EXPECT_NE(head.find("Content-Length: 15\r\n"), std::string::npos);
}

TEST(ServerHttp, KeepsConnectionsAndPipelines) {
  const TestServer server;
  RawClient client(server.port());
  client.send(get("/health") + post("/v1/completions", R"({"prompt":"a"})") + get("/ready", "Connection: close\r\n"));
  std::string all;
  while (!client.ended) all += client.receive(500);
  const auto first = all.find("\"ok\""), second = all.find("Hello, world"), third = all.find("\"ready\"");
  EXPECT_TRUE(first != std::string::npos && second != std::string::npos && third != std::string::npos);
  EXPECT_TRUE(first < second && second < third) << "in order";
}

TEST(ServerHttp, Http10ClosesAndStreamsWithoutChunks) {
  const TestServer server;
  RawClient client(server.port());
  const std::string body = R"({"prompt":"a","stream":true})";
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  std::string all;
  while (!client.ended) all += client.receive(500);
  EXPECT_EQ(all.find("chunked"), std::string::npos);
  EXPECT_TRUE(all.ends_with("data: [DONE]\n\n"));
}

TEST(ServerHttp, AnswersAClientThatClosedItsSideAfterAsking) {
  const TestServer server;
  RawClient client(server.port());
  client.send(get("/health"));
  client.half_close();
  EXPECT_EQ(status_of(client.receive_until("}")), 200);
}

TEST(ServerHttp, ContinuesWhenAsked) {
  const TestServer server;
  RawClient client(server.port());
  const std::string body = R"({"prompt":"a"})";
  const std::string head =
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: "
      "100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n";
  client.send(head);
  EXPECT_EQ(client.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send(body);
  EXPECT_EQ(status_of(client.receive_until("}}")), 200);
  RawClient refused(server.port());
  refused.send("POST /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
  EXPECT_EQ(status_of(refused.receive_until("}}")), 404) << "no invitation for a body that nobody wants";
}

TEST(ServerHttp, RefusesSmugglingAndClosesTheConnection) {
  const TestServer server;
  RawClient client(server.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "4\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string all;
  while (!client.ended) all += client.receive(500);
  EXPECT_EQ(status_of(all), 400);
  EXPECT_EQ(all.find("\"ok\""), std::string::npos) << "the smuggled request is not answered";
}

TEST(ServerHttp, LimitsBodiesHeadersAndMediaTypes) {
  ServerOptions options = test_options();
  options.limits.body_bytes = 1000;
  const TestServer server(options);
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", std::string(2000, ' ')))), 413);
  EXPECT_EQ(status_of(server.exchange(get("/health", "X: " + std::string(20000, 'a') + "\r\n"))), 431);
  EXPECT_EQ(status_of(server.exchange("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                      "text/plain\r\nContent-Length: 2\r\n\r\n{}")),
            415);
  EXPECT_EQ(
      status_of(server.exchange("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")),
      415);
  EXPECT_EQ(status_of(server.exchange(
                "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
                "Transfer-Encoding: chunked\r\n\r\ne\r\n{\"prompt\":\"a\"}\r\n0\r\n\r\n")),
            200);
}

TEST(ServerHttp, RefusesCodedBodies) {
  const TestServer server;
  for (const char* coding : {"gzip", "br", "identity, gzip", "deflate\r\nContent-Encoding: identity", "x"}) {
    const std::string response = server.exchange(
        post("/v1/completions", R"({"prompt":"a"})", std::string("Content-Encoding: ") + coding + "\r\n"));
    EXPECT_EQ(status_of(response), 415) << coding;
    EXPECT_EQ(error_of(response)["type"], "invalid_request_error") << coding;
    EXPECT_EQ(error_of(response)["code"], "unsupported_content_encoding") << coding;
    EXPECT_NE(response.find("Accept-Encoding: identity\r\n"), std::string::npos) << coding;
  }
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a"})", "Content-Encoding: Identity\r\n"))),
            200);
}

TEST(ServerHttp, AnEmptyLineAfterARequestIsNoRequest) {
  ServerOptions options = test_options();
  options.limits.header_time = 100ms;
  const TestServer server(options);
  RawClient client(server.port());
  client.send(get("/health") + "\r\n");
  EXPECT_EQ(status_of(client.receive_until("}")), 200);
  EXPECT_EQ(client.receive(400), "") << "nothing has begun that could come too slowly";
  EXPECT_FALSE(client.ended);
  client.send(get("/health"));
  EXPECT_EQ(status_of(client.receive_until("}")), 200);
}

TEST(ServerHttp, LimitsPromptsAndAnswers) {
  ServerOptions options = test_options();
  options.limits.prompt_tokens = 5;
  options.limits.output_tokens = 3;
  const TestServer server(options);
  const auto complete = [&](const std::string& body) { return server.exchange(post("/v1/completions", body)); };
  EXPECT_EQ(status_of(complete(R"({"prompt":"abcd"})")), 200);
  const std::string too_long = complete(R"({"prompt":"abcde"})");  // and the token that begins
  EXPECT_EQ(status_of(too_long), 400);
  EXPECT_EQ(error_of(too_long)["code"], "context_length_exceeded");
  EXPECT_EQ(error_of(complete(R"({"prompt":"a","max_tokens":4})"))["param"], "max_tokens");
  const json answer = json::parse(body_of(complete(R"({"prompt":"a"})")));
  EXPECT_EQ(answer["choices"][0]["text"], "Hel");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
}

TEST(ServerHttp, ABodyThatIsTooLongStillGetsItsAnswer) {
  ServerOptions options = test_options();
  options.limits.body_bytes = 1000;
  const TestServer server(options);
  RawClient client(server.port());
  client.send(post("/v1/completions", std::string(3'000'000, ' ')));
  EXPECT_EQ(status_of(client.receive_until("}}")), 413);
}

TEST(ServerHttp, LimitsTime) {
  ServerOptions options = test_options();
  options.limits.header_time = 150ms;
  options.limits.body_time = 150ms;
  options.limits.idle_time = 150ms;
  const TestServer server(options);
  RawClient silent(server.port()), slow_header(server.port()), slow_body(server.port()), idle(server.port());
  slow_header.send("GET /health HT");
  slow_body.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
      "100\r\n\r\n{");
  idle.send(get("/health"));
  EXPECT_EQ(status_of(slow_header.receive(2000)), 408);
  EXPECT_EQ(status_of(slow_body.receive(2000)), 408);
  EXPECT_EQ(silent.receive(2000), "");
  EXPECT_TRUE(silent.ended);
  EXPECT_EQ(status_of(idle.receive(2000)), 200);
  EXPECT_TRUE(idle.ended);
  RawClient drip(server.port());
  bool alive = true;
  for (int i = 0; i < 60 && alive; ++i) {
    alive = drip.send("X");
    std::this_thread::sleep_for(10ms);
    alive = alive && drip.receive(1).empty() && !drip.ended;
  }
  EXPECT_FALSE(alive) << "a byte now and then does not buy more time";
}

TEST(ServerHttp, LimitsConnections) {
  ServerOptions options = test_options();
  options.limits.connections_per_address = 2;
  const TestServer server(options);
  RawClient first(server.port()), second(server.port());
  EXPECT_TRUE(first.send(get("/health")) && status_of(first.receive_until("}")) == 200);
  EXPECT_TRUE(second.send(get("/health")) && status_of(second.receive_until("}")) == 200);
  RawClient third(server.port());
  EXPECT_EQ(status_of(third.receive(2000)), 503);
  first.close();
  EXPECT_TRUE(eventually([&] { return status_of(server.exchange(get("/health"))) == 200; }));
}

TEST(ServerHttp, AsksForAKey) {
  ServerOptions options = test_options();
  options.keys = {{"alice", sha256("secret-one")}};
  const TestServer server(options);
  for (const char* header :
       {"", "Authorization: Bearer wrong-key\r\n", "Authorization: secret-one\r\n", "x-api-key: secret-one\r\n"}) {
    const std::string response = server.exchange(post("/v1/completions", R"({"prompt":"a"})", header));
    EXPECT_EQ(status_of(response), 401) << header;
    EXPECT_EQ(error_of(response)["code"], "invalid_api_key");
  }
  EXPECT_EQ(
      status_of(server.exchange(post("/v1/completions", R"({"prompt":"a"})", "Authorization: Bearer secret-one\r\n"))),
      200);
  EXPECT_EQ(status_of(server.exchange(get("/health"))), 200);
  EXPECT_EQ(status_of(server.exchange(get("/metrics"))), 401);
  // The path is decoded once, before anybody decides on it.
  for (const char* path : {"/v1/models", "/v1/%6dodels", "/v1/models/fake", "/v1/models/..%2f..%2fhealth",
                           "/v1/models?/health", "/%76%31/models"}) {
    EXPECT_EQ(status_of(server.exchange(get(path))), 401) << path;
  }
  for (const char* path : {"/health/../v1/models", "/health%2f..%2fv1%2fmodels", "//v1/models"})
    EXPECT_EQ(status_of(server.exchange(get(path))), 404) << path;
  EXPECT_EQ(status_of(server.exchange("GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n")), 400);
}

TEST(ServerHttp, LimitsTheRateOfAKey) {
  ServerOptions options = test_options();
  options.keys = {{"alice", sha256("secret-one")}, {"bob", sha256("secret-two")}};
  options.requests_per_minute = 2;
  const TestServer server(options);
  const auto ask = [&](const std::string& key) {
    return server.exchange(post("/v1/completions", R"({"prompt":"a"})", "Authorization: Bearer " + key + "\r\n"));
  };
  EXPECT_EQ(status_of(ask("secret-one")), 200);
  EXPECT_NE(ask("secret-one").find("x-ratelimit-remaining-requests: 0\r\n"), std::string::npos);
  const std::string refused = ask("secret-one");
  EXPECT_EQ(status_of(refused), 429);
  EXPECT_EQ(error_of(refused)["code"], "rate_limit_exceeded");
  EXPECT_NE(refused.find("Retry-After: "), std::string::npos);
  EXPECT_EQ(status_of(ask("secret-two")), 200);
}

TEST(ServerHttp, LimitsTheTokensOfAKey) {
  ServerOptions options = test_options();
  options.tokens_per_minute = 10;
  const TestServer server(options);
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"abc","max_tokens":12})"))), 200);
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"abc"})"))), 429);
}

TEST(ServerHttp, AFullQueueIs429) {
  FakeBehaviour full;
  full.most_running = 1;
  const TestServer server(test_options(), full);
  const std::string response = server.exchange(post("/v1/completions", R"({"prompt":"a","n":2})"));
  EXPECT_EQ(status_of(response), 429);
  EXPECT_NE(response.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return server.stats().running == 0; })) << "the choice that did start is cancelled";
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a"})"))), 200);
}

TEST(ServerHttp, FailuresTellOnlyTheRequestId) {
  FakeBehaviour broken;
  broken.fails = true;
  const TestServer server(test_options(), broken);
  const std::string response =
      server.exchange(post("/v1/completions", R"({"prompt":"a"})", "X-Request-Id: my-id.7\r\n"));
  EXPECT_EQ(status_of(response), 500);
  EXPECT_NE(error_of(response)["message"].get<std::string>().find("my-id.7"), std::string::npos);
  EXPECT_EQ(response.find("secret"), std::string::npos);
  EXPECT_EQ(response.find("0x"), std::string::npos);
  EXPECT_NE(response.find("X-Request-Id: my-id.7\r\n"), std::string::npos);
}

TEST(ServerHttp, InsaneRequestIdsAreReplaced) {
  const TestServer server;
  for (const std::string& id :
       {std::string("a b"), std::string("<script>"), std::string(65, 'a'), std::string("a\"b")}) {
    const std::string response = server.exchange(get("/health", "X-Request-Id: " + id + "\r\n"));
    EXPECT_EQ(status_of(response), 200);
    EXPECT_NE(response.find("X-Request-Id: req_"), std::string::npos) << id;
  }
}

TEST(ServerHttp, AModelThatCannotBeLoadedIsAnAnswer) {
  ServerOptions options = test_options();
  std::atomic<bool> broken{true};
  options.loader = [&](const ServedModel&, const LanguageModelOptions&) -> std::shared_ptr<Backend> {
    if (broken) throw Error(ErrorKind::invalid_file, "bad magic", "/no/such/path");
    return std::make_shared<FakeBackend>();
  };
  const TestServer server(options);
  const std::string response = server.exchange(post("/v1/completions", R"({"prompt":"a"})"));
  EXPECT_EQ(status_of(response), 503);
  EXPECT_EQ(error_of(response)["code"], "model_load_failed");
  EXPECT_EQ(response.find("/no/such"), std::string::npos);
  EXPECT_NE(response.find("x-should-retry: false"), std::string::npos);
  broken = false;
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a"})"))), 200);
}

TEST(ServerHttp, AnswersOnlyToItsOwnNamesWithoutKeys) {
  ServerOptions options = test_options();
  options.allowed_hosts = {"box.lan"};
  const TestServer server(options);
  const auto ask = [&](const std::string& host) {
    return status_of(server.exchange("GET /v1/models HTTP/1.1\r\nHost: " + host + "\r\n\r\n"));
  };
  for (const char* host : {"localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:80", "box.lan", "Box.Lan:1"})
    EXPECT_EQ(ask(host), 200) << host;
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "box.lan.evil"})
    EXPECT_EQ(ask(host), 403) << host;
}

TEST(ServerHttp, CrossOriginOnlyWhenAllowed) {
  const std::string preflight =
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: "
      "https://app.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
  {
    const TestServer server;
    EXPECT_EQ(server.exchange(preflight).find("Access-Control"), std::string::npos);
  }
  ServerOptions options = test_options();
  options.cors_origins = {"https://app.example"};
  const TestServer server(options);
  const std::string allowed = server.exchange(preflight);
  EXPECT_EQ(status_of(allowed), 204);
  EXPECT_NE(allowed.find("Access-Control-Allow-Origin: https://app.example\r\n"), std::string::npos);
  EXPECT_NE(server.exchange(get("/health", "Origin: https://app.example\r\n")).find("Access-Control-Allow-Origin"),
            std::string::npos);
  EXPECT_EQ(server.exchange(get("/health", "Origin: https://evil.example\r\n")).find("Access-Control"),
            std::string::npos);
}

TEST(ServerHttp, RefusesToBeOpenUnlessSaidTwice) {
  ServerOptions options = test_options();
  options.host = "0.0.0.0";
  EXPECT_THROW(Server{options}, Error);
  options.allow_open = true;
  EXPECT_THROW(Server{options}, Error);
  options.allow_open_again = true;
  EXPECT_NO_THROW(Server{options});
  options.allow_open = options.allow_open_again = false;
  options.keys = {{"a", sha256("secret-one")}};
  EXPECT_NO_THROW(Server{options});
  options.host = "not an address";
  EXPECT_THROW(Server{options}, Error);
  options.host = "127.0.0.1";
  options.tls_certificate = "/no/such/file";
  EXPECT_THROW(Server{options}, Error);
}

TEST(ServerHttp, TwoServersCannotShareAPort) {
  const TestServer server;
  ServerOptions options = test_options();
  options.port = server.port();
  EXPECT_THROW(Server{options}, Error);
}

TEST(ServerHttp, ARequestsBudgetTakesTheModelsDefaultsPlace) {
  std::shared_ptr<FakeBackend> backend;
  ServerOptions options = test_options();
  options.loader = [&](const ServedModel&, const LanguageModelOptions&) {
    FakeBehaviour behaviour;
    behaviour.budget.max_experts = 2;
    return backend = std::make_shared<FakeBackend>(behaviour);
  };
  const TestServer server(options);
  const auto budget_of = [&](const std::string& field) {
    EXPECT_EQ(status_of(server.exchange(post("/v1/completions", "{\"prompt\":\"abc\"" + field + "}"))), 200);
    return backend->last_budget();
  };
  EXPECT_EQ(budget_of(""), (RoutingBudget{.max_experts = 2}));
  EXPECT_EQ(budget_of(R"(,"moe":null)"), (RoutingBudget{.max_experts = 2}));
  EXPECT_EQ(budget_of(R"(,"moe":{})"), RoutingBudget{});
  EXPECT_EQ(budget_of(R"(,"moe":{"top_p":0.5})"), (RoutingBudget{.top_p = 0.5f}));
}

TEST(ServerHttp, MetricsCountExactly) {
  const TestServer server;
  server.exchange(post("/v1/completions", R"({"prompt":"abc","max_tokens":5})"));
  server.exchange(post("/v1/completions", R"({"prompt":"abc","n":2})"));
  const std::string metrics = server.exchange(get("/metrics"));
  const auto has = [&](const std::string& line) { return metrics.find("\n" + line + "\n") != std::string::npos; };
  EXPECT_TRUE(has(R"(vllm:prompt_tokens_total{model_name="fake"} 8)")) << metrics;
  EXPECT_TRUE(has(R"(vllm:generation_tokens_total{model_name="fake"} 31)"));
  EXPECT_TRUE(has(R"(vllm:request_success_total{model_name="fake",finished_reason="length"} 1)"));
  EXPECT_TRUE(has(R"(vllm:request_success_total{model_name="fake",finished_reason="stop"} 2)"));
  EXPECT_TRUE(has(R"(vllm:e2e_request_latency_seconds_count{model_name="fake"} 2)"));
  EXPECT_TRUE(has(R"(moebox:http_requests_total{route="/v1/completions",status="200"} 2)"));
}

}  // namespace
}  // namespace moebox

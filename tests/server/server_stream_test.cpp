// Streams, clients that go away, slow readers, shutting down, TLS: over real sockets, with a fake model.
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "server/keys.h"
#include "test_server.h"

namespace moebox {
namespace {

using namespace test;
using nlohmann::json;
using namespace std::chrono_literals;

const std::string endless = R"({"prompt":"a","stream":true,"ignore_eos":true,"max_tokens":4000})";

TEST(ServerStream, ChatChunks) {
  const TestServer server;
  const std::string response = server.exchange(
      post("/v1/chat/completions",
           R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}})"));
  EXPECT_EQ(status_of(response), 200);
  EXPECT_NE(response.find("Content-Type: text/event-stream"), std::string::npos);
  const auto events = events_of(response);
  ASSERT_GE(events.size(), 5u);
  EXPECT_EQ(events.back(), "[DONE]");
  const json first = json::parse(events.front());
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"], json::parse(R"({"role":"assistant","content":""})"));
  EXPECT_TRUE(first["usage"].is_null());
  std::string text;
  for (std::size_t i = 0; i + 2 < events.size(); ++i)
    text += json::parse(events[i])["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(text, "Hello, world");
  EXPECT_EQ(json::parse(events[events.size() - 3])["choices"][0]["finish_reason"], "stop");
  const json last = json::parse(events[events.size() - 2]);
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["completion_tokens"], 13);
  EXPECT_EQ(last["usage"]["total_tokens"], 23);
}

TEST(ServerStream, CompletionChunksOfSeveralChoices) {
  const TestServer server;
  const auto events = events_of(server.exchange(
      post("/v1/completions", R"({"prompt":["a","b"],"n":2,"stream":true,"echo":true,"max_tokens":3})")));
  std::map<int, std::string> texts;
  std::map<int, int> finished;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const json choice = json::parse(event)["choices"][0];
    texts[choice["index"]] += choice["text"];
    finished[choice["index"]] += choice["finish_reason"] == "length" ? 1 : 0;
  }
  EXPECT_EQ(texts, (std::map<int, std::string>{{0, "aHel"}, {1, "aHel"}, {2, "bHel"}, {3, "bHel"}}));
  EXPECT_EQ(finished, (std::map<int, int>{{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
}

TEST(ServerStream, ThinkingComesInItsOwnField) {
  for (const Reasoning begin : {Reasoning::by_model, Reasoning::open}) {
    FakeBehaviour behaviour;
    behaviour.reasoning = begin;
    behaviour.reply = std::string(begin == Reasoning::open ? "" : "<think>\n") + "Hm < \u4f60.\n</think>\n\nIt is 4.";
    const TestServer server(test_options(), behaviour);
    std::string reasoning, content;
    long long n_reasoning = 0;
    for (
        const std::string& event : events_of(server.exchange(post(
            "/v1/chat/completions",
            R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}})")))) {
      if (event == "[DONE]") continue;
      const json chunk = json::parse(event);
      for (const json& choice : chunk["choices"]) {
        const json& delta = choice["delta"];
        EXPECT_FALSE(delta.contains("reasoning_content") && !content.empty()) << "thinking comes first";
        reasoning += delta.value("reasoning_content", "");
        content += delta.value("content", "");
      }
      if (chunk["choices"].empty()) n_reasoning = chunk["usage"]["completion_tokens_details"]["reasoning_tokens"];
    }
    EXPECT_EQ(reasoning.find("Hm < "), 0u) << reasoning;
    EXPECT_EQ(content, "It is 4.");
    EXPECT_EQ(n_reasoning, begin == Reasoning::open ? 18 : 26);
  }
}

TEST(ServerStream, LogprobsComeWithTheirTokens) {
  const TestServer server;
  const auto events = events_of(server.exchange(post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"logprobs":true,"top_logprobs":1,"stop":"lo"})")));
  std::string tokens;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const json logprobs = json::parse(event)["choices"][0]["logprobs"];
    if (logprobs.is_null()) continue;
    for (const json& token : logprobs["content"]) {
      tokens += token["token"];
      EXPECT_EQ(token["top_logprobs"].size(), 1u);
    }
  }
  EXPECT_EQ(tokens, "Hello");
}

TEST(ServerStream, AFailureEndsTheStreamWithAnError) {
  FakeBehaviour broken;
  broken.fails = true;
  const TestServer server(test_options(), broken);
  const auto events = events_of(server.exchange(post("/v1/completions", R"({"prompt":"a","stream":true})")));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(json::parse(events[0])["error"]["code"], "internal_error");
  EXPECT_EQ(events[0].find("secret"), std::string::npos);
  EXPECT_EQ(events[1], "[DONE]");
}

TEST(ServerStream, AnEndThatWasNotToldEndsTheAnswerAllTheSame) {
  FakeBehaviour forgetful;
  forgetful.loses_ends = true;
  const TestServer server(test_options(), forgetful);
  const auto events = events_of(server.exchange(post("/v1/completions", R"({"prompt":"a","n":2,"stream":true})")));
  ASSERT_GE(events.size(), 2u);
  EXPECT_TRUE(json::parse(events[events.size() - 2]).contains("error"));
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a"})"))), 429);
  EXPECT_TRUE(eventually(
      [&] { return server.exchange(get("/metrics")).find("moebox:requests_in_flight 0\n") != std::string::npos; }));
}

TEST(ServerStream, ErrorsBeforeTheFirstTokenHaveTheirStatus) {
  const TestServer server;
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a","stream":true,"max_tokens":100000})"))),
            400);
  EXPECT_EQ(status_of(server.exchange(post("/v1/completions", R"({"prompt":"a","stream":true,"model":"x"})"))), 404);
}

TEST(ServerStream, PingsWhileItWaits) {
  ServerOptions options = test_options();
  options.ping_time = 30ms;
  FakeBehaviour slow;
  slow.first_step = 300ms;
  const TestServer server(options, slow);
  const std::string response = server.exchange(post("/v1/completions", R"({"prompt":"a","stream":true})"));
  EXPECT_NE(response.find(": ping\n\n"), std::string::npos);
  EXPECT_LT(response.find(": ping\n\n"), response.find("\"text\""));
  EXPECT_EQ(events_of(response).back(), "[DONE]");
}

enum class Leave { close, reset, half_close };

void expect_slot_freed(const std::string& body, Leave how) {
  FakeBehaviour slow;
  slow.step = 5ms;
  const TestServer server(test_options(), slow);
  RawClient client(server.port());
  client.send(post("/v1/completions", body));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  const auto left = std::chrono::steady_clock::now();
  if (how == Leave::close)
    client.close();
  else if (how == Leave::reset)
    client.reset();
  else
    client.half_close();
  EXPECT_TRUE(eventually([&] { return server.stats().running == 0; }));
  EXPECT_LT(std::chrono::steady_clock::now() - left, 1500ms) << "4000 tokens would have taken 20 seconds";
  EXPECT_EQ(server.stats().cancelled, 1u);
  EXPECT_TRUE(eventually([&] {
    return server.exchange(get("/metrics"))
               .find(R"(vllm:request_success_total{model_name="fake",finished_reason="abort"} 1)") != std::string::npos;
  }));
  EXPECT_TRUE(eventually(
      [&] { return server.exchange(get("/metrics")).find("moebox:requests_in_flight 0\n") != std::string::npos; }));
}

TEST(ServerStream, AClientThatLeavesFreesItsSlot) {
  for (const Leave how : {Leave::close, Leave::reset, Leave::half_close}) {
    expect_slot_freed(endless, how);
    expect_slot_freed(R"({"prompt":"a","ignore_eos":true,"max_tokens":4000})", how);
  }
}

TEST(ServerStream, AClientThatLeavesWhileTheModelLoadsIsForgotten) {
  ServerOptions options = test_options();
  std::atomic<bool> go{false};
  auto backend = std::make_shared<FakeBackend>();
  options.loader = [&](const ServedModel&, const LanguageModelOptions&) {
    while (!go) std::this_thread::sleep_for(5ms);
    return backend;
  };
  const TestServer server(options);
  RawClient client(server.port());
  client.send(post("/v1/completions", endless));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status_of(server.exchange(get("/health"))), 200) << "loading blocks nobody else";
  client.close();
  std::this_thread::sleep_for(50ms);
  go = true;
  EXPECT_TRUE(eventually(
      [&] { return server.exchange(get("/metrics")).find("moebox:requests_in_flight 0\n") != std::string::npos; }));
  EXPECT_EQ(backend->stats().running, 0);
  EXPECT_EQ(backend->stats().cancelled, 0u) << "it was never submitted";
}

TEST(ServerStream, ASlowReaderIsDropped) {
  ServerOptions options = test_options();
  options.limits.unsent_bytes = 64 << 10;
  FakeBehaviour fast;
  fast.step = 0us;
  fast.context_tokens = 10'000'000;
  const TestServer server(options, fast);
  RawClient slow(server.port(), 4096);
  slow.send(post("/v1/completions", R"({"prompt":"a","stream":true,"ignore_eos":true,"max_tokens":9000000})"));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  EXPECT_TRUE(eventually([&] { return server.stats().running == 0; }, 20000));
  EXPECT_TRUE(eventually(
      [&] { return server.exchange(get("/metrics")).find("moebox:slow_readers_total 1\n") != std::string::npos; }));
  EXPECT_EQ(server.stats().cancelled, 1u);
}

TEST(ServerStream, AReaderThatStopsIsDropped) {
  ServerOptions options = test_options();
  options.limits.write_stall_time = 200ms;
  FakeBehaviour fast;
  fast.step = 0us;
  fast.context_tokens = 10'000'000;
  options.limits.unsent_bytes = std::size_t{1} << 40;
  const TestServer server(options, fast);
  RawClient stuck(server.port(), 4096);
  stuck.send(post("/v1/completions", R"({"prompt":"a","stream":true,"ignore_eos":true,"max_tokens":9000000})"));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  EXPECT_TRUE(eventually([&] { return server.stats().running == 0; }, 20000));
}

TEST(ServerStream, DrainingFinishesWhatRuns) {
  FakeBehaviour slow;
  slow.step = 20ms;
  auto server = std::make_unique<TestServer>(test_options(), slow);
  RawClient running(server->port()), idle(server->port()), late(server->port());
  idle.send(get("/health"));
  EXPECT_EQ(status_of(idle.receive_until("}")), 200);
  // Has begun to ask, and the server has read that: it came with a request that was answered.
  late.send(get("/health") + "GET /rea");
  EXPECT_EQ(status_of(late.receive_until("}")), 200);
  running.send(post("/v1/completions", R"({"prompt":"a","stream":true})"));
  ASSERT_TRUE(eventually([&] { return server->stats().running == 1; }));
  std::this_thread::sleep_for(30ms);
  server->server().drain();
  EXPECT_EQ(idle.receive(5000), "");
  EXPECT_TRUE(idle.ended) << "idle connections close";
  late.send("dy HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(status_of(late.receive(1000)), 503);
  const std::string refused = server->exchange(post("/v1/completions", R"({"prompt":"a"})"));
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("Retry-After"), std::string::npos);
  const std::string answer = running.receive_until("[DONE]");
  EXPECT_EQ(answer.find("error"), std::string::npos);
  EXPECT_NE(answer.find("[DONE]"), std::string::npos);
}

TEST(ServerStream, ARequestThatMeetsTheDrainingIsAnswered) {
  TestServer server;
  RawClient idle(server.port()), fresh(server.port());
  idle.send(get("/health"));
  EXPECT_EQ(status_of(idle.receive_until("}")), 200);
  std::this_thread::sleep_for(3s);  // longer than the time for last bytes, which begins with the draining
  server.server().drain();
  std::this_thread::sleep_for(50ms);
  for (RawClient* client : {&idle, &fresh}) {
    client->send(post("/v1/completions", R"({"prompt":"a"})"));
    const std::string answer = client->receive_until("}}");
    EXPECT_EQ(status_of(answer), 503);
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(answer.find("Retry-After"), std::string::npos);
  }
}

/// Asks again and again on one connection until the server says that it closes it. False: a request got no answer.
bool asks_until_closed(std::uint16_t port) {
  RawClient client(port);
  const std::string request = post("/v1/completions", R"({"prompt":"a","max_tokens":1})");
  for (;;) {
    if (!client.send(request)) return false;
    std::string answer;
    while (!TestServer::complete(answer)) {
      if (client.ended) return false;
      answer += client.receive(1);
    }
    if (answer.find("Connection: close\r\n") != std::string::npos) return true;
  }
}

TEST(ServerStream, EveryRequestIsAnsweredWhenTheServerDrainsBetweenThem) {
  for (int round = 0; round < 10; ++round) {
    TestServer server;
    std::atomic<int> unanswered{0};
    std::vector<std::thread> clients;
    for (int i = 0; i < 8; ++i) clients.emplace_back([&] { unanswered += asks_until_closed(server.port()) ? 0 : 1; });
    std::this_thread::sleep_for(30ms + round * 1ms);
    server.server().drain();
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(unanswered, 0) << "round " << round;
  }
}

TEST(ServerStream, DrainingEndsAfterItsTime) {
  ServerOptions options = test_options();
  options.drain_time = 150ms;
  FakeBehaviour slow;
  slow.step = 20ms;
  TestServer server(options, slow);
  RawClient client(server.port());
  client.send(post("/v1/completions", endless));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  server.server().drain();
  std::string all;
  const auto begin = std::chrono::steady_clock::now();
  while (!client.ended && std::chrono::steady_clock::now() - begin < 5s) all += client.receive(100);
  EXPECT_TRUE(client.ended);
}

TEST(ServerStream, RunReturnsAfterDraining) {
  Server server([] {
    ServerOptions options = test_options();
    options.loader = [](const ServedModel&, const LanguageModelOptions&) { return std::make_shared<FakeBackend>(); };
    return options;
  }());
  std::thread thread([&] { server.run(); });
  RawClient client(server.port());
  client.send(get("/health"));
  client.receive_until("}");
  server.drain();
  thread.join();
  EXPECT_THROW(server.run(), Error);
}

TEST(ServerStream, SignalsDrainAndThenStop) {
  FakeBehaviour slow;
  slow.step = 20ms;
  ServerOptions options = test_options();
  options.handle_signals = true;
  options.drain_time = 60s;
  TestServer server(options, slow);
  RawClient client(server.port());
  client.send(post("/v1/completions", endless));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  std::raise(SIGTERM);
  EXPECT_TRUE(eventually([&] { return status_of(server.exchange(get("/ready"))) == 503; }));
  EXPECT_EQ(server.stats().running, 1);
  std::raise(SIGTERM);
  std::string all;
  while (!client.ended) all += client.receive(100);
  EXPECT_EQ(all.find("[DONE]"), std::string::npos);
}

/// A certificate for localhost, made on the spot.
struct Certificate {
  Certificate() {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
    std::FILE* file = std::fopen(certificate_path.c_str(), "w");
    PEM_write_X509(file, certificate);
    std::fclose(file);
    file = std::fopen(key_path.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  ~Certificate() {
    std::filesystem::remove(certificate_path);
    std::filesystem::remove(key_path);
  }
  const std::filesystem::path certificate_path =
      std::filesystem::temp_directory_path() / ("moebox_cert_" + std::to_string(::getpid()) + ".pem");
  const std::filesystem::path key_path =
      std::filesystem::temp_directory_path() / ("moebox_key_" + std::to_string(::getpid()) + ".pem");
};

/// One exchange over TLS of at most `max_version`; empty when the handshake fails.
std::string tls_exchange(std::uint16_t port, const std::string& request, int max_version, bool& clean_end) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, max_version);
  SSL_CTX_set_security_level(context, 0);
  BIO* bio = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(bio, ("127.0.0.1:" + std::to_string(port)).c_str());
  std::string all;
  clean_end = false;
  if (BIO_do_connect(bio) == 1 && BIO_do_handshake(bio) == 1) {
    BIO_write(bio, request.data(), static_cast<int>(request.size()));
    char buffer[4096];
    for (int n; (n = BIO_read(bio, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(n));
    SSL* ssl = nullptr;
    BIO_get_ssl(bio, &ssl);
    clean_end = (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return all;
}

TEST(ServerStream, SpeaksTls) {
  const Certificate certificate;
  ServerOptions options = test_options();
  options.tls_certificate = certificate.certificate_path;
  options.tls_key = certificate.key_path;
  const TestServer server(options);
  EXPECT_TRUE(const_cast<TestServer&>(server).server().url().starts_with("https://"));
  bool clean = false;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const std::string response =
        tls_exchange(server.port(), post("/v1/completions", R"({"prompt":"a","stream":true})", "Connection: close\r\n"),
                     version, clean);
    EXPECT_EQ(status_of(response), 200);
    EXPECT_EQ(events_of(response).back(), "[DONE]");
    EXPECT_TRUE(clean) << "the end is said, not cut";
  }
  EXPECT_EQ(tls_exchange(server.port(), get("/health"), TLS1_1_VERSION, clean), "");
  RawClient plain(server.port());
  plain.send(get("/health"));
  EXPECT_NE(status_of(plain.receive(1000)), 200);
}

TEST(ServerStream, SaysWhatIsWrongWithTheFilesOfTls) {
  const Certificate certificate;
  ServerOptions options = test_options();
  const auto refused = [&](const std::string& chain, const std::string& key, ErrorKind kind, const std::string& where) {
    options.tls_certificate = chain;
    options.tls_key = key;
    try {
      const Server server(options);
      ADD_FAILURE() << "accepted: " << where;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_EQ(error.where(), where) << error.what();
    }
  };
  const std::string folder = std::filesystem::temp_directory_path().string();
  refused("/no/such/file", certificate.key_path, ErrorKind::not_found, "/no/such/file");
  refused(certificate.certificate_path, "/no/such/key", ErrorKind::not_found, "/no/such/key");
  refused(certificate.certificate_path, folder, ErrorKind::io, folder);
  refused(certificate.key_path, certificate.key_path, ErrorKind::invalid_file, certificate.key_path);
  refused(certificate.certificate_path, certificate.certificate_path, ErrorKind::invalid_file,
          certificate.certificate_path);
}

TEST(ServerStream, ATlsClientThatLeavesFreesItsSlot) {
  const Certificate certificate;
  ServerOptions options = test_options();
  options.tls_certificate = certificate.certificate_path;
  options.tls_key = certificate.key_path;
  FakeBehaviour slow;
  slow.step = 5ms;
  const TestServer server(options, slow);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  BIO* bio = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(bio, ("127.0.0.1:" + std::to_string(server.port())).c_str());
  ASSERT_EQ(BIO_do_connect(bio), 1);
  const std::string request = post("/v1/completions", endless);
  BIO_write(bio, request.data(), static_cast<int>(request.size()));
  ASSERT_TRUE(eventually([&] { return server.stats().running == 1; }));
  BIO_free_all(bio);
  SSL_CTX_free(context);
  EXPECT_TRUE(eventually([&] { return server.stats().running == 0; }));
}

}  // namespace
}  // namespace moebox

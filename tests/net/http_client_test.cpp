// The client against servers that lie, stall, cut, redirect and babble.
#include "net/http_client.h"

#include <chrono>
#include <set>

#include <gtest/gtest.h>

#include "net/network_error.h"
#include "net/test_server.h"

namespace moebox::test {
namespace {

HttpOptions quick() {
  HttpOptions options;
  options.connect_timeout_ms = 2000;
  options.timeout_ms = 400;
  options.head_timeout_ms = 800;
  return options;
}

struct Result {
  ClientResponse response;
  std::string body;
};

Result get(const std::string& url, HttpOptions options = quick()) {
  Result result;
  HttpHandlers handlers;
  handlers.on_body = [&](std::string_view bytes) { result.body += bytes; };
  result.response =
      HttpClient(options).send({.method = "GET", .url = Url::parse(url), .headers = {}, .body = {}}, handlers);
  return result;
}

/// Expects a NetworkError of which the text holds `words`.
void expect_failure(const std::string& url, const std::string& words, bool retryable, HttpOptions options = quick()) {
  const auto start = std::chrono::steady_clock::now();
  try {
    get(url, options);
    ADD_FAILURE() << "no error; expected: " << words;
  } catch (const NetworkError& e) {
    EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    EXPECT_EQ(e.retryable(), retryable) << e.what();
    EXPECT_NE(std::string(e.what()).find("127.0.0."), std::string::npos) << "names the host: " << e.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

/// A server that answers these bytes and closes.
std::unique_ptr<TestServer> says(std::string bytes, bool reset = false) {
  return std::make_unique<TestServer>([bytes, reset](const ServerRequest&, ServerStream& stream) {
    if (reset) stream.reset_on_close();
    stream.send(bytes);
  });
}

TEST(HttpClient, SendsWhatItShould) {
  TestServer server([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "X-A: b\r\n", "hello"); });
  Result result;
  HttpHandlers handlers;
  handlers.on_body = [&](std::string_view bytes) { result.body += bytes; };
  result.response = HttpClient(quick()).send(
      {.method = "POST", .url = Url::parse(server.url("/p?q=1")), .headers = {{"X-Own", "1"}}, .body = "{}"}, handlers);
  EXPECT_EQ(result.response.status, 200);
  EXPECT_EQ(result.response.headers.find("x-a"), "b");
  EXPECT_EQ(result.response.content_length, 5u);
  EXPECT_EQ(result.body, "hello");
  const ServerRequest request = server.requests().at(0);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/p?q=1");
  EXPECT_EQ(request.header("host"), "127.0.0.1:" + std::to_string(server.port()));
  EXPECT_EQ(request.header("x-own"), "1");
  EXPECT_EQ(request.header("content-length"), "2");
  EXPECT_EQ(request.header("accept-encoding"), "identity");
  EXPECT_TRUE(request.raw.ends_with("\r\n\r\n{}"));
}

TEST(HttpClient, AllFramings) {
  EXPECT_EQ(get(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")->url()).body, "abc");
  EXPECT_EQ(get(says("HTTP/1.1 200 OK\r\n\r\nuntil the end")->url()).body, "until the end");
  EXPECT_EQ(get(says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 "
                     "OK\r\nContent-Length: 2\r\n\r\nok")
                    ->url())
                .body,
            "ok");
  EXPECT_EQ(get(says("HTTP/1.1 204 No Content\r\n\r\n")->url()).body, "");
  EXPECT_EQ(get(says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more that was not announced")->url()).body,
            "ok");
}

TEST(HttpClient, HeadHasNoBody) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
  });
  const auto response =
      HttpClient(quick()).send({.method = "HEAD", .url = Url::parse(server.url()), .headers = {}, .body = {}});
  EXPECT_EQ(response.content_length, 1000000u);
}

TEST(HttpClient, ByteByByte) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    for (const char c : std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")) {
      stream.send(std::string(1, c));
      stream.sleep_ms(1);
    }
  });
  EXPECT_EQ(get(server.url()).body, "hello");
}

TEST(HttpClient, LargeBodies) {
  std::string large(5u << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 24);
  TestServer server([&](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", large); });
  EXPECT_EQ(get(server.url()).body, large);
}

TEST(HttpClient, TruncatedAtEveryPlace) {
  const std::string whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    expect_failure(says(whole.substr(0, size))->url(), "closed", true);
  }
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (std::size_t size = chunked.find("5\r"); size < chunked.size(); ++size) {
    SCOPED_TRACE(size);
    expect_failure(says(chunked.substr(0, size))->url(), "closed", true);
  }
}

TEST(HttpClient, ResetConnections) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
    stream.sleep_ms(50);
    stream.reset_on_close();
  });
  expect_failure(server.url(), "lost", true);
}

TEST(HttpClient, Nonsense) {
  expect_failure(says("SSH-2.0-OpenSSH_9.2\r\n\r\n")->url(), "not valid HTTP", false);
  expect_failure(says("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")->url(), "Content-Length", false);
  expect_failure(says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello")->url(),
                 "Content-Length", false);
  expect_failure(says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello")->url(),
                 "compressed", false);
  expect_failure(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n")->url(),
                 "chunk size", false);
  expect_failure(says("HTTP/1.1 101 Switching Protocols\r\n\r\n")->url(), "101", false);
  std::string interim;
  for (int i = 0; i < 20; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  expect_failure(says(interim)->url(), "unexpected", false);
}

TEST(HttpClient, EndlessHeads) {
  TestServer one_line([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\nX: ");
    while (stream.send(std::string(1000, 'a'))) {
    }
  });
  expect_failure(one_line.url(), "head of the answer is longer", false);
  TestServer many_lines([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\n");
    while (stream.send("X: a\r\n")) {
    }
  });
  expect_failure(many_lines.url(), "head of the answer is longer", false);
}

TEST(HttpClient, Silence) {
  TestServer server([](const ServerRequest&, ServerStream& stream) { stream.sleep_ms(5000); });
  expect_failure(server.url(), "time limit", true);
}

TEST(HttpClient, SlowHead) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100 && stream.send("X"); ++i) stream.sleep_ms(100);
  });
  expect_failure(server.url(), "time limit", true);
}

TEST(HttpClient, SlowBody) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100 && stream.send("x"); ++i) stream.sleep_ms(100);
  });
  HttpOptions options = quick();
  options.minimum_bytes = 100;
  expect_failure(server.url(), "too slowly", true, options);
}

TEST(HttpClient, TickStops) {
  TestServer server([](const ServerRequest&, ServerStream& stream) { stream.sleep_ms(5000); });
  HttpOptions options = quick();
  options.timeout_ms = 5000;
  options.tick = [] { throw Error(ErrorKind::cancelled, "enough"); };
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(get(server.url(), options), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(HttpClient, NobodyListens) {
  std::string url;
  {
    TestServer server([](const ServerRequest&, ServerStream&) {});
    url = server.url();
  }
  expect_failure(url, "no connection", true);
}

TEST(HttpClient, UnknownHosts) {
  try {
    get("http://moebox.invalid/");
    ADD_FAILURE();
  } catch (const NetworkError& e) {
    EXPECT_NE(std::string(e.what()).find("moebox.invalid"), std::string::npos) << e.what();
  }
}

TEST(HttpClient, ABodyMayBeDeclined) {
  TestServer server([](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    stream.sleep_ms(3000);
  });
  HttpHandlers handlers;
  handlers.on_head = [](const ClientResponse& response) { return response.status != 200; };
  EXPECT_EQ(HttpClient(quick())
                .send({.method = "GET", .url = Url::parse(server.url()), .headers = {}, .body = {}}, handlers)
                .status,
            200);
}

TEST(HttpClient, RequestsCannotBeSplit) {
  const Url url = Url::parse("http://127.0.0.1:1/");
  const HttpClient client(quick());
  for (const ClientRequest& request :
       {ClientRequest{"GET", url, {{"X", "a\r\nY: b"}}, ""}, ClientRequest{"GET", url, {{"X\r\n", "a"}}, ""},
        ClientRequest{"GET", url, {{"", "a"}}, ""}, ClientRequest{"GET /x HTTP/1.1\r\nX:", url, {}, ""},
        ClientRequest{"GET", {"http", "127.0.0.1", 1, "/a b"}, {}, ""},
        ClientRequest{"GET", {"http", "127.0.0.1", 1, "/a\r\nX: y"}, {}, ""}}) {
    try {
      client.send(request);
      ADD_FAILURE() << request.method;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::invalid_argument) << e.what();
    }
  }
}

TEST(HttpRedirect, SecretsStayWithTheirOrigin) {
  TestServer other([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", "there"); }, nullptr,
                   "127.0.0.2");
  TestServer other_port([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", "there"); });
  TestServer server([&](const ServerRequest& request, ServerStream& stream) {
    const std::string to = request.target == "/host"   ? other.url("/x")
                           : request.target == "/port" ? other_port.url("/x")
                           : request.target == "/near" ? "/here"
                                                       : "";
    to.empty() ? stream.answer(200, "", "here") : stream.answer(302, "Location: " + to + "\r\n", "");
  });
  const HttpClient client(quick());
  ClientResponse response;
  const auto fetch = [&](const std::string& target) {
    return client.fetch({.method = "GET",
                         .url = Url::parse(server.url(target)),
                         .headers = {{"Authorization", "Bearer secret"}, {"Cookie", "secret"}, {"X-Plain", "1"}},
                         .body = {}},
                        100, response);
  };
  EXPECT_EQ(fetch("/near"), "here");
  EXPECT_EQ(server.requests().at(1).header("authorization"), "Bearer secret");
  EXPECT_EQ(fetch("/host"), "there");
  EXPECT_EQ(fetch("/port"), "there");
  EXPECT_EQ(response.url.text(), other_port.url("/x"));
  for (const auto& request : {other.requests().at(0), other_port.requests().at(0)}) {
    EXPECT_EQ(request.raw.find("secret"), std::string::npos) << request.raw;
    EXPECT_EQ(request.header("x-plain"), "1");
  }
}

TEST(HttpRedirect, LoopsAndNonsense) {
  TestServer server([](const ServerRequest& request, ServerStream& stream) {
    stream.answer(302, "Location: " + (request.target == "/loop" ? "/loop" : request.target.substr(1)) + "\r\n", "");
  });
  const HttpClient client(quick());
  const auto fetch = [&](const std::string& target) {
    ClientResponse response;
    try {
      client.fetch({.method = "GET", .url = Url::parse(server.url(target)), .headers = {}, .body = {}}, 100, response);
    } catch (const NetworkError& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(fetch("/loop").find("more than 10 redirects"), std::string::npos);
  EXPECT_EQ(server.requests().size(), 11u);
  EXPECT_NE(fetch("/file:///etc/passwd").find("redirect to nowhere"), std::string::npos);
  EXPECT_NE(fetch("/http://user@127.0.0.1/").find("redirect to nowhere"), std::string::npos);
}

TEST(HttpRedirect, NeverFromHttpsToHttp) {
  ClientRequest request{"GET", Url::parse("https://a/"), {}, ""};
  ClientResponse response;
  response.headers.add("Location", "http://a/");
  EXPECT_THROW(HttpClient::redirected(request, response), NetworkError);
  ClientResponse upwards;
  upwards.headers.add("Location", "https://a/");
  request.url = Url::parse("http://a/");
  request.headers.add("Authorization", "secret");
  EXPECT_EQ(HttpClient::redirected(request, upwards).headers.size(), 0u) << "another scheme is another origin";
}

TEST(HttpClient, FetchIsBounded) {
  TestServer server([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", std::string(101, 'x')); });
  ClientResponse response;
  EXPECT_THROW(HttpClient(quick()).fetch({.method = "GET", .url = Url::parse(server.url()), .headers = {}, .body = {}},
                                         100, response),
               NetworkError);
}

}  // namespace
}  // namespace moebox::test

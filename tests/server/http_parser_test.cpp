#include "server/http_parser.h"

#include <gtest/gtest.h>

namespace moebox {
namespace {

struct Outcome {
  HttpParser::State state;
  int status = 0;  // of the refusal
  HttpRequest request;
  std::size_t left = 0;
};

/// Feeds `bytes` in pieces of `piece` bytes, as a connection does: what is not taken comes again.
Outcome parse(std::string_view bytes, std::size_t piece = 1u << 20, const ServerLimits& limits = {}) {
  HttpParser parser(limits);
  std::string buffer;
  for (;;) {
    const auto state = parser.state();
    if (state == HttpParser::State::header_done) {
      parser.read_body();
      continue;
    }
    if (state == HttpParser::State::done || state == HttpParser::State::failed) break;
    const std::size_t n = buffer.empty() ? 0 : parser.feed(buffer);
    buffer.erase(0, n);
    if (parser.state() != state) continue;
    if (bytes.empty()) break;
    buffer.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  Outcome outcome{parser.state(), 0, {}, buffer.size() + bytes.size()};
  if (outcome.state == HttpParser::State::failed)
    outcome.status = parser.error().status;
  else
    outcome.request = std::move(parser.request());
  return outcome;
}

TEST(HttpParser, ReadsARequestInAnyPieces) {
  const std::string text =
      "POST /v1/chat%2Fx?y=z HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer abc\r\ncontent-type: "
      "application/json\r\nContent-Length: 5\r\n\r\nhelloGET";
  for (const std::size_t piece : {1u, 2u, 3u, 7u, 1000u}) {
    const Outcome outcome = parse(text, piece);
    ASSERT_EQ(outcome.state, HttpParser::State::done);
    EXPECT_EQ(outcome.request.method, "POST");
    EXPECT_EQ(outcome.request.path, "/v1/chat/x");
    EXPECT_EQ(outcome.request.authorization, "Bearer abc");
    EXPECT_EQ(outcome.request.content_type, "application/json");
    EXPECT_EQ(outcome.request.body, "hello");
    EXPECT_EQ(outcome.left, 3u) << "the next request's bytes are not touched";
  }
}

TEST(HttpParser, PassesOverAFewEmptyLinesBeforeARequest) {
  const std::string request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na\nb";
  for (const std::size_t piece : {1u, 2u, 3u, 1000u}) {
    for (const char* lines : {"\r\n", "\r\n\r\n"}) {
      const Outcome outcome = parse(lines + request, piece);
      ASSERT_EQ(outcome.state, HttpParser::State::done) << piece;
      EXPECT_EQ(outcome.request.body, "a\nb") << "a body's line feeds are its own business";
    }
    std::string many;
    for (int i = 0; i < 20; ++i) many += "\r\n";
    EXPECT_EQ(parse(many + request, piece).status, 400);
  }
}

TEST(HttpParser, JoinsTheCodingsOfABody) {
  EXPECT_EQ(parse("POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Encoding: br\r\n\r\n")
                .request.content_encoding,
            "gzip, br");
}

TEST(HttpParser, ReadsChunks) {
  const std::string text =
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n";
  for (const std::size_t piece : {1u, 5u, 1000u}) {
    const Outcome outcome = parse(text, piece);
    ASSERT_EQ(outcome.state, HttpParser::State::done) << piece;
    EXPECT_EQ(outcome.request.body, "abcde");
  }
}

TEST(HttpParser, ReadsABodyWithoutChunksInAnyPieces) {
  for (const char* end : {"0\r\n\r\n", "00\r\n\r\n", "0;ext\r\n\r\n", "0\r\nA: b\r\n\r\n"}) {
    for (std::size_t piece = 1; piece <= 8; ++piece) {
      const std::string text = std::string("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n") + end;
      const Outcome outcome = parse(text + "GET", piece);
      ASSERT_EQ(outcome.state, HttpParser::State::done) << end << " in pieces of " << piece;
      EXPECT_EQ(outcome.request.body, "");
      EXPECT_EQ(outcome.left, 3u) << "the next request's bytes are not touched";
    }
  }
}

TEST(HttpParser, RefusesWhatTwoServersCouldReadInTwoWays) {
  struct Case {
    const char* text;
    int status;
  };
  const Case cases[] = {
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: ::1]\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [evil.example]\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1].evil.example\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: localhost:evil\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: 127.0.0.1:80:80\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: http://localhost/\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: b\xc3\xbc"
       "cher\r\n\r\n",
       400},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n 5\r\n\r\nhello", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\nTransfer-Encoding: chunked\r\n\r\nhello", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: h\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\n\n", 400},
      {"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
      {"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"\x16\x03\x01\x02 hello, this is TLS\r\n\r\n", 400},
      {"GET http://h/v1/models HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET v1/models HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET /%0d%0ax HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nExpect: a miracle\r\n\r\n", 417},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400},
  };
  for (const Case& c : cases) {
    const Outcome outcome = parse(c.text);
    EXPECT_EQ(outcome.state, HttpParser::State::failed) << c.text;
    EXPECT_EQ(outcome.status, c.status) << c.text;
    EXPECT_EQ(parse(c.text, 1).status, c.status) << "byte by byte: " << c.text;
  }
}

TEST(HttpParser, HostsOfEveryForm) {
  for (const std::string host : {"h", "", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080",
                                 "[2001:db8::7]:1", "box_1.lan", "xn--bcher-kva.example:", "%62ox"}) {
    EXPECT_NE(parse("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n").state, HttpParser::State::failed) << host;
  }
}

TEST(HttpParser, KeepsItsLimits) {
  ServerLimits limits;
  limits.header_bytes = 512;
  limits.header_fields = 5;
  limits.body_bytes = 100;
  const std::string start = "POST / HTTP/1.1\r\nHost: h\r\n";
  EXPECT_EQ(parse(start + "X: " + std::string(600, 'a') + "\r\n\r\n", 1u << 20, limits).status, 431);
  EXPECT_EQ(parse("GET /" + std::string(10'000, 'a'), 100, limits).status, 431);
  EXPECT_EQ(parse(start + "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n", 1u << 20, limits).status, 431);
  EXPECT_EQ(parse(start + "Content-Length: 101\r\n\r\n", 1u << 20, limits).status, 413);
  EXPECT_EQ(parse(start + "Transfer-Encoding: chunked\r\n\r\n65\r\n" + std::string(101, 'a') + "\r\n0\r\n\r\n",
                  1u << 20, limits)
                .status,
            413);
  EXPECT_EQ(parse(start + "Content-Length: 100\r\n\r\n" + std::string(100, 'a'), 7, limits).state,
            HttpParser::State::done);
  std::string endless = start + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(parse(endless + "1;" + std::string(5000, 'x'), 100, limits).state, HttpParser::State::failed);
  std::string tiny = endless;
  for (int i = 0; i < 400; ++i) tiny += "1;aaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n";
  EXPECT_EQ(parse(tiny, 100, limits).status, 413);
}

TEST(HttpParser, HeadsOfAnswersAreFramed) {
  HttpResponse response;
  response.headers = {{"X-Request-Id", "abc"}};
  const std::string whole = response_head(response, 5, 11, true);
  EXPECT_TRUE(whole.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_NE(whole.find("Content-Length: 5\r\n"), std::string::npos);
  EXPECT_NE(whole.find("X-Request-Id: abc\r\n"), std::string::npos);
  EXPECT_TRUE(whole.ends_with("\r\n\r\n"));
  EXPECT_NE(response_head(response, std::nullopt, 11, true).find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(response_head(response, std::nullopt, 10, false).find("chunked"), std::string::npos);
  EXPECT_NE(response_head(response, 0, 11, false).find("Connection: close\r\n"), std::string::npos);
}

}  // namespace
}  // namespace moebox

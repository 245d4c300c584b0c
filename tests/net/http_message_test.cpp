// Heads, framing and chunks as bytes: what is HTTP is read, what is not is refused.
#include "net/http_message.h"

#include <gtest/gtest.h>

#include "net/network_error.h"

namespace moebox::test {
namespace {

HttpHead head(const std::string& bytes) { return parse_http_head(bytes, 128, "test"); }

TEST(HttpHead, Parses) {
  const HttpHead h = head("HTTP/1.1 206 Partial Content\r\nContent-Length:  5 \r\nX: a: b\r\nx: second\r\n\r\n");
  EXPECT_EQ(h.status, 206);
  EXPECT_EQ(h.reason, "Partial Content");
  EXPECT_EQ(h.headers.find("content-length"), "5");
  EXPECT_EQ(h.headers.find("X"), "a: b");
  EXPECT_EQ(h.headers.count("X"), 2u);
  EXPECT_EQ(head("HTTP/1.0 200\r\n\r\n").status, 200);
}

TEST(HttpHead, Refuses) {
  for (const std::string bad :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 999 X\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\nX: y\n\n",
        "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded\r\n\r\n", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n", "HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n"}) {
    EXPECT_THROW(head(bad), NetworkError) << bad;
  }
  EXPECT_THROW(head(std::string("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", 26)), NetworkError);
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 129; ++i) many += "X: y\r\n";
  EXPECT_THROW(head(many + "\r\n"), NetworkError);
}

BodyFraming framing(const std::string& fields, const std::string& method = "GET", int status = 200) {
  return body_framing(method, head("HTTP/1.1 " + std::to_string(status) + " X\r\n" + fields + "\r\n"), "test");
}

TEST(HttpFraming, Kinds) {
  using Kind = BodyFraming::Kind;
  EXPECT_EQ(framing("Content-Length: 5\r\n").length, 5u);
  EXPECT_EQ(framing("Content-Length: 18446744073709551615\r\n").length, ~std::uint64_t{0});
  EXPECT_EQ(framing("Transfer-Encoding: Chunked\r\n").kind, Kind::chunked);
  EXPECT_EQ(framing("").kind, Kind::until_close);
  EXPECT_EQ(framing("Content-Length: 5\r\n", "HEAD").kind, Kind::none);
  EXPECT_EQ(framing("", "GET", 204).kind, Kind::none);
  EXPECT_EQ(framing("", "GET", 304).kind, Kind::none);
  EXPECT_EQ(framing("Content-Encoding: identity\r\n").kind, Kind::until_close);
}

TEST(HttpFraming, Refuses) {
  for (const char* bad :
       {"Content-Length: -1\r\n", "Content-Length: +1\r\n", "Content-Length: 1, 1\r\n", "Content-Length: \r\n",
        "Content-Length: 0x10\r\n", "Content-Length: 1e3\r\n", "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Encoding: gzip\r\n", "Content-Encoding: br\r\nContent-Length: 5\r\n"}) {
    EXPECT_THROW(framing(bad), NetworkError) << bad;
  }
}

std::string decode(const std::string& bytes, std::size_t step, bool* done = nullptr) {
  ChunkedDecoder decoder("test");
  std::string result;
  for (std::size_t i = 0; i < bytes.size(); i += step)
    decoder.feed(std::string_view(bytes).substr(i, step), [&](std::string_view part) { result += part; });
  if (done != nullptr) *done = decoder.done();
  return result;
}

TEST(Chunked, DecodesInPiecesOfAnySize) {
  // The example of RFC 7230's predecessor texts: sizes in hexadecimal, an extension, a trailer.
  const std::string bytes = "4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX: y\r\n\r\n";
  for (std::size_t step = 1; step <= bytes.size(); ++step) {
    bool done = false;
    EXPECT_EQ(decode(bytes, step, &done), "Wikipedia in \r\n\r\nchunks.") << step;
    EXPECT_TRUE(done) << step;
  }
  bool done = true;
  decode(bytes.substr(0, bytes.size() - 2), 7, &done);
  EXPECT_FALSE(done);
}

TEST(Chunked, Refuses) {
  for (const std::string bad :
       {"-1\r\n", "0x4\r\nWiki\r\n", "10000000000000000\r\n", "FFFFFFFFFFFFFFFFF\r\n", "\r\n", "g\r\n", "4\nWiki\r\n",
        "4\r\nWikiX\r\n", "4\r\nWiki\n", " \r\n", "4 4\r\n", "+4\r\nWiki\r\n"}) {
    EXPECT_THROW(decode(bad, 1), NetworkError) << bad;
    EXPECT_THROW(decode(bad, 100), NetworkError) << bad;
  }
  EXPECT_THROW(decode("4;" + std::string(5000, 'x'), 100), NetworkError);
  std::string trailer = "0\r\n";
  for (int i = 0; i < 2000; ++i) trailer += "Long-Trailer-Field: value\r\n";
  EXPECT_THROW(decode(trailer, 1000), NetworkError);
}

}  // namespace
}  // namespace moebox::test

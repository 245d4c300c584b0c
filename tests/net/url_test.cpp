// URLs: RFC 3986's own examples of references, and what must be refused.
#include "net/url.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebox::test {
namespace {

TEST(Url, Parts) {
  const Url url = Url::parse("HTTPS://Example.ORG:8443/a/b?c=d#e");
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.host, "example.org");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.target, "/a/b?c=d");
  EXPECT_EQ(url.authority(), "example.org:8443");
  EXPECT_EQ(url.text(), "https://example.org:8443/a/b?c=d");
  EXPECT_EQ(Url::parse("http://h").text(), "http://h/");
  EXPECT_EQ(Url::parse("http://h:80?q").text(), "http://h/?q");
  EXPECT_EQ(Url::parse("https://h:443").origin(), "https://h");
  EXPECT_EQ(Url::parse("http://[::1]:8080/x").host, "::1");
  EXPECT_EQ(Url::parse("http://[::1]:8080/x").authority(), "[::1]:8080");
}

TEST(Url, Refused) {
  for (const char* bad : {"",
                          "example.org",
                          "ftp://h/",
                          "file:///etc/passwd",
                          "http://",
                          "http:///x",
                          "http://user@h/",
                          "http://u:p@h/",
                          "http://h:/",
                          "http://h:0/",
                          "http://h:65536/",
                          "http://h:-1/",
                          "http://h:8x/",
                          "http://h h/",
                          "http://h/ x",
                          "http://h/\r\nX: y",
                          "http://h/\n",
                          "http://h\\@e/",
                          "http://ä/",
                          "http://[::1/",
                          "http://[::1]x/",
                          "http://[zz]/",
                          "http://.h/",
                          "http://a..b/",
                          "http://-h/",
                          "http://h%41/",
                          "javascript:alert(1)"}) {
    EXPECT_THROW(Url::parse(bad), Error) << bad;
  }
  EXPECT_THROW(Url::parse("http://h/" + std::string(20000, 'a')), Error);
  EXPECT_THROW(Url::parse("http://" + std::string(300, 'a') + "/"), Error);
}

// RFC 3986, 5.4.1 and 5.4.2 (those that stay within http).
TEST(Url, ReferencesOfTheRfc) {
  const Url base = Url::parse("http://a/b/c/d;p?q");
  const std::pair<const char*, const char*> examples[] = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g/"},
      {"?y", "http://a/b/c/d;p?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d;p"},
      {"g#s", "http://a/b/c/g"},
      {"g?y#s", "http://a/b/c/g?y"},
      {";x", "http://a/b/c/;x"},
      {"g;x", "http://a/b/c/g;x"},
      {".", "http://a/b/c/"},
      {"./", "http://a/b/c/"},
      {"..", "http://a/b/"},
      {"../", "http://a/b/"},
      {"../g", "http://a/b/g"},
      {"../..", "http://a/"},
      {"../../", "http://a/"},
      {"../../g", "http://a/g"},
      {"../../../g", "http://a/g"},
      {"../../../../g", "http://a/g"},
      {"/./g", "http://a/g"},
      {"/../g", "http://a/g"},
      {"g.", "http://a/b/c/g."},
      {"..g", "http://a/b/c/..g"},
      {"./../g", "http://a/b/g"},
      {"./g/.", "http://a/b/c/g/"},
      {"g/./h", "http://a/b/c/g/h"},
      {"g/../h", "http://a/b/c/h"},
      {"g;x=1/../y", "http://a/b/c/y"},
      {"g?y/../x", "http://a/b/c/g?y/../x"},
  };
  for (const auto& [reference, expected] : examples) {
    if (std::string_view(reference) == "#s") {
      // The RFC keeps the base's query for an empty path; a fragment alone is never a redirect of ours, and is not
      // sent.
      continue;
    }
    EXPECT_EQ(base.resolve(reference).text(), expected) << reference;
  }
  EXPECT_EQ(base.resolve("https://other:1/x").text(), "https://other:1/x");
  for (const char* bad : {"", "file:///etc/passwd", "javascript:x", "//", "http://u@h/", "/a b", "/a\r\nSet-Cookie: x"})
    EXPECT_THROW(base.resolve(bad), Error) << bad;
}

TEST(Url, PercentEncoding) {
  EXPECT_EQ(percent_encode("a b/ü+%", false), "a%20b%2F%C3%BC%2B%25");
  EXPECT_EQ(percent_encode("a-b._~/c", true), "a-b._~/c");
}

TEST(Url, Loopback) {
  for (const char* yes : {"localhost", "127.0.0.1", "127.9.9.9", "::1"}) EXPECT_TRUE(is_loopback(yes)) << yes;
  for (const char* no : {"128.0.0.1", "example.org", "127.0.0.1.example.org", ""}) EXPECT_FALSE(is_loopback(no)) << no;
}

}  // namespace
}  // namespace moebox::test

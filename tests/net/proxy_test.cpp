// Proxies: which URL takes one, what it gets to see, and what it may not do.
#include "net/proxy.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "net/http_client.h"
#include "net/network_error.h"
#include "net/test_server.h"

namespace moebox::test {
namespace {

bool uses_proxy(const std::string& no_proxy, const std::string& url) {
  const ProxySettings settings{"http://proxy:3128", "http://proxy:3129", no_proxy};
  return settings.find(Url::parse(url)).has_value();
}

TEST(Proxy, WhichUrls) {
  EXPECT_TRUE(uses_proxy("", "http://a.example.org/"));
  EXPECT_EQ(ProxySettings({"http://proxy:3128", "http://proxy:3129", ""}).find(Url::parse("https://a/"))->port, 3129);
  EXPECT_FALSE(ProxySettings({"", "http://proxy:3129", ""}).find(Url::parse("http://a/")));
  for (const char* loopback : {"http://localhost:1/", "http://127.0.0.1/", "http://[::1]/"})
    EXPECT_FALSE(uses_proxy("", loopback)) << loopback;
  EXPECT_FALSE(uses_proxy("*", "http://a/"));
  EXPECT_FALSE(uses_proxy("x, .Example.org", "http://a.example.org/"));
  EXPECT_FALSE(uses_proxy("example.org", "http://a.example.org/"));
  EXPECT_FALSE(uses_proxy("example.org", "http://example.org/"));
  EXPECT_FALSE(uses_proxy("*.example.org", "http://a.example.org/"));
  EXPECT_FALSE(uses_proxy("example.org:8080", "http://example.org:8080/"));
  EXPECT_TRUE(uses_proxy("example.org:8080", "http://example.org/"));
  EXPECT_TRUE(uses_proxy("example.org", "http://badexample.org/"));
  EXPECT_TRUE(uses_proxy("org.example,,", "http://example.org/"));
}

TEST(Proxy, Addresses) {
  const auto find = [](const char* proxy) { return ProxySettings{proxy, "", ""}.find(Url::parse("http://a/")); };
  EXPECT_EQ(find("proxy:3128")->host, "proxy");
  // echo -n 'us er:p@ss' | base64
  EXPECT_EQ(find("http://us%20er:p%40ss@proxy:1/")->authorization, "Basic dXMgZXI6cEBzcw==");
  for (const char* bad : {"socks5://proxy:1", "https://proxy:1", "http://", "http://proxy:0", "http://pro xy"}) {
    try {
      find(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::invalid_argument);
    }
  }
  try {
    find("http://user:geheim@pro xy");
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find("geheim"), std::string::npos) << "no password in a message";
  }
}

std::string get(const std::string& url, const TestServer& proxy, const std::string& user = "") {
  HttpOptions options;
  options.timeout_ms = 2000;
  const std::string address = "http://" + user + "127.0.0.1:" + std::to_string(proxy.port());
  options.proxy = {address, address, ""};
  ClientResponse response;
  return HttpClient(options).fetch({.method = "GET", .url = Url::parse(url), .headers = {}, .body = {}}, 1000,
                                   response);
}

TEST(Proxy, PlainHttpGetsTheWholeUrl) {
  TestServer proxy([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", "by proxy"); });
  EXPECT_EQ(get("http://moebox.invalid/x", proxy, "u:p@"), "by proxy");
  EXPECT_EQ(proxy.requests().at(0).target, "http://moebox.invalid/x");
  EXPECT_EQ(proxy.requests().at(0).header("host"), "moebox.invalid");
  EXPECT_EQ(proxy.requests().at(0).header("proxy-authorization"), "Basic dTpw");
}

TEST(Proxy, HttpsIsTunnelled) {
  const auto certificate = TestCertificate::make("DNS:moebox.invalid");
  TestServer target([](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", "through the tunnel"); },
                    &certificate);
  TestServer proxy([&](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 200 Connection established\r\n\r\n");
    stream.tunnel_to(target.port());
  });
  std::string path = (std::filesystem::temp_directory_path() / "moebox-proxy-XXXXXX").string();
  close(mkstemp(path.data()));
  std::ofstream(path) << certificate.certificate;
  const char* const set_before = std::getenv("SSL_CERT_FILE");
  const std::string before = set_before == nullptr ? "" : set_before;
  setenv("SSL_CERT_FILE", path.c_str(), 1);
  EXPECT_EQ(get("https://moebox.invalid/x", proxy, "u:p@"), "through the tunnel");
  set_before == nullptr ? unsetenv("SSL_CERT_FILE") : setenv("SSL_CERT_FILE", before.c_str(), 1);
  std::filesystem::remove(path);

  const ServerRequest request = proxy.requests().at(0);
  EXPECT_EQ(request.method, "CONNECT");
  EXPECT_EQ(request.target, "moebox.invalid:443");
  EXPECT_EQ(request.header("proxy-authorization"), "Basic dTpw");
  EXPECT_EQ(request.raw.find("/x"), std::string::npos) << "the proxy does not see the path";
  EXPECT_EQ(target.requests().at(0).header("proxy-authorization"), "")
      << "the target does not see the proxy's password";
  EXPECT_EQ(target.requests().at(0).target, "/x");
}

TEST(Proxy, Refusals) {
  const auto text_for = [](const std::string& answer) {
    TestServer proxy([answer](const ServerRequest&, ServerStream& stream) { stream.send(answer); });
    try {
      get("https://moebox.invalid/", proxy);
    } catch (const NetworkError& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(text_for("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").find("user"), std::string::npos);
  EXPECT_NE(text_for("HTTP/1.1 403 Forbidden\r\n\r\n").find("403 Forbidden"), std::string::npos);
  EXPECT_NE(text_for("HTTP/1.1 200 OK\r\n\r\nsmuggled").find("bytes of its own"), std::string::npos);
  EXPECT_NE(text_for("nonsense\r\n\r\n").find("not valid HTTP"), std::string::npos);
}

}  // namespace
}  // namespace moebox::test

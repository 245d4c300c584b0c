// TLS: who is trusted, for which name, until when.
#include "net/tls.h"

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

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    std::string name = (std::filesystem::temp_directory_path() / "moebox-tls-XXXXXX").string();
    file_descriptor_ = mkstemp(name.data());
    path_ = name;
    for (const char* variable : {"SSL_CERT_FILE", "SSL_CERT_DIR"}) {
      if (const char* value = std::getenv(variable)) before_[variable] = value;
    }
    unsetenv("SSL_CERT_DIR");
  }
  ~TlsTest() override {
    close(file_descriptor_);
    std::filesystem::remove(path_);
    for (const char* variable : {"SSL_CERT_FILE", "SSL_CERT_DIR"})
      before_.contains(variable) ? setenv(variable, before_[variable].c_str(), 1) : unsetenv(variable);
  }

  void trust(const TestCertificate& certificate) {
    std::ofstream(path_) << certificate.certificate;
    setenv("SSL_CERT_FILE", path_.c_str(), 1);
  }

  static std::string get(const std::string& url) {
    HttpOptions options;
    options.timeout_ms = 3000;
    ClientResponse response;
    return HttpClient(options).fetch({.method = "GET", .url = Url::parse(url), .headers = {}, .body = {}}, 1u << 20,
                                     response);
  }

  static std::string error(const std::string& url) {
    try {
      get(url);
    } catch (const NetworkError& e) {
      EXPECT_FALSE(e.retryable()) << e.what();
      return e.what();
    }
    return "no error";
  }

  static void hello(const ServerRequest&, ServerStream& stream) { stream.answer(200, "", "hello"); }

 private:
  int file_descriptor_;
  std::filesystem::path path_;
  std::map<std::string, std::string> before_;
};

TEST_F(TlsTest, SelfSignedIsRejected) {
  const auto certificate = TestCertificate::make("DNS:localhost,IP:127.0.0.1");
  TestServer server(hello, &certificate);
  const std::string text = error(server.url());
  EXPECT_NE(text.find("not trusted"), std::string::npos) << text;
  EXPECT_NE(text.find("SSL_CERT_FILE"), std::string::npos) << text;
  EXPECT_TRUE(server.requests().empty()) << "nothing was sent";
}

TEST_F(TlsTest, AcceptedWithSslCertFile) {
  const auto certificate = TestCertificate::make("DNS:localhost,IP:127.0.0.1");
  TestServer server(hello, &certificate);
  trust(certificate);
  EXPECT_EQ(get(server.url()), "hello");
  EXPECT_EQ(get(server.url("/", "localhost")), "hello");
}

TEST_F(TlsTest, AnotherNameIsRejected) {
  const auto certificate = TestCertificate::make("DNS:example.org,IP:127.0.0.9");
  TestServer server(hello, &certificate);
  trust(certificate);
  EXPECT_NE(error(server.url()).find("not trusted"), std::string::npos);
  EXPECT_NE(error(server.url("/", "localhost")).find("not trusted"), std::string::npos);
}

TEST_F(TlsTest, ExpiredIsRejected) {
  const auto certificate = TestCertificate::make("IP:127.0.0.1", -7200, -3600);
  TestServer server(hello, &certificate);
  trust(certificate);
  EXPECT_NE(error(server.url()).find("expired"), std::string::npos) << error(server.url());
}

TEST_F(TlsTest, NotYetValidIsRejected) {
  const auto certificate = TestCertificate::make("IP:127.0.0.1", 3600, 7200);
  TestServer server(hello, &certificate);
  trust(certificate);
  EXPECT_NE(error(server.url()).find("not yet valid"), std::string::npos) << error(server.url());
}

TEST_F(TlsTest, ContextsAreNotUsedUp) {
  const auto certificate = TestCertificate::make("IP:127.0.0.1");
  TestServer server(hello, &certificate);
  trust(certificate);
  for (int i = 0; i < 300; ++i) const TlsContext context;
  EXPECT_EQ(get(server.url()), "hello");
}

TEST_F(TlsTest, LargeBodies) {
  const auto certificate = TestCertificate::make("IP:127.0.0.1");
  const std::string large(900000, 'x');
  TestServer server([&](const ServerRequest&, ServerStream& stream) { stream.answer(200, "", large); }, &certificate);
  trust(certificate);
  EXPECT_EQ(get(server.url()), large);
}

TEST_F(TlsTest, AnEndWithoutGoodbyeIsACut) {
  // Until-close framing: only TLS's goodbye tells a whole body from a cut one.
  const auto certificate = TestCertificate::make("IP:127.0.0.1");
  TestServer server(
      [](const ServerRequest& request, ServerStream& stream) {
        stream.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        if (request.target == "/cut") stream.reset_on_close();
      },
      &certificate);
  trust(certificate);
  EXPECT_EQ(get(server.url("/whole")), "half");
  EXPECT_THROW(get(server.url("/cut")), NetworkError);
}

TEST_F(TlsTest, PlainServerBehindHttps) {
  TestServer server(hello);
  try {
    get("https://127.0.0.1:" + std::to_string(server.port()) + "/");
    ADD_FAILURE();
  } catch (const NetworkError& e) {
    EXPECT_NE(std::string(e.what()).find("127.0.0.1"), std::string::npos);
  }
}

}  // namespace
}  // namespace moebox::test

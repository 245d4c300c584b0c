// An HTTP(S) server on loopback that does what a test tells it, however wrong: it never interprets its answers.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace moebox::test {

struct ServerRequest {
  std::string method, target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string raw;

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

/// The way back to the client. Writing to one that is gone is no error: send() says false.
class ServerStream {
 public:
  virtual ~ServerStream() = default;
  virtual bool send(std::string_view bytes) = 0;
  /// Up to `size` raw bytes from the client; empty at its end.
  virtual std::string receive(std::size_t size) = 0;
  /// Makes the close a reset (RST) instead of an orderly end; with TLS, also without its goodbye.
  virtual void reset_on_close() = 0;
  /// Carries bytes both ways between the client and a port of this machine, until one side ends: what a proxy does.
  virtual void tunnel_to(std::uint16_t port) = 0;
  /// Sleeps, but not beyond the server's life.
  virtual void sleep_ms(int milliseconds) = 0;

  /// A whole answer with Content-Length.
  bool answer(int status, const std::string& headers, std::string_view body, bool head_only = false);
};

/// A certificate for `names` ("DNS:localhost,IP:127.0.0.1"), signed by itself, as PEM.
struct TestCertificate {
  std::string certificate, key;
  /// Valid from now + `from_seconds` to now + `to_seconds`.
  static TestCertificate make(const std::string& names, long from_seconds = -3600, long to_seconds = 3600);
};

class TestServer {
 public:
  using Handler = std::function<void(const ServerRequest&, ServerStream&)>;

  /// Listens on a free port of `address`. With a certificate it speaks TLS.
  explicit TestServer(Handler handler, const TestCertificate* certificate = nullptr,
                      const std::string& address = "127.0.0.1");
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string url(const std::string& target = "/", const std::string& host = {}) const;
  /// What was asked so far.
  std::vector<ServerRequest> requests() const;

  struct Tls;

 private:
  void accept_loop();
  void serve(int fd);

  Handler handler_;
  std::string address_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::unique_ptr<Tls> tls_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<ServerRequest> requests_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace moebox::test

#include "net/test_server.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

namespace moebox::test {
namespace {

void require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("test server: ") + what);
}

std::string pem_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

ServerRequest parse(const std::string& raw) {
  ServerRequest request;
  request.raw = raw;
  const auto line_end = raw.find("\r\n");
  const std::string line = raw.substr(0, line_end);
  const auto first = line.find(' '), second = line.rfind(' ');
  request.method = line.substr(0, first);
  if (first != std::string::npos && second > first) request.target = line.substr(first + 1, second - first - 1);
  for (auto at = line_end; at != std::string::npos && at + 2 < raw.size();) {
    const auto end = raw.find("\r\n", at + 2);
    const std::string field = raw.substr(at + 2, end == std::string::npos ? end : end - at - 2);
    at = end;
    const auto colon = field.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = field.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[name] = field.substr(colon + 2);
  }
  return request;
}

class Stream final : public ServerStream {
 public:
  Stream(int fd, SSL* ssl, const std::atomic<bool>& stopping) : fd_(fd), ssl_(ssl), stopping_(stopping) {}
  ~Stream() override {
    if (ssl_ != nullptr && !reset_) SSL_shutdown(ssl_);
    if (ssl_ != nullptr) SSL_free(ssl_);
    if (reset_) {
      const linger now{1, 0};
      setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(fd_);
  }

  bool send(std::string_view bytes) override {
    while (!bytes.empty()) {
      if (!wait(POLLOUT)) return false;
      const auto part = bytes.substr(0, 64u << 10);
      const ssize_t count = ssl_ != nullptr ? SSL_write(ssl_, part.data(), static_cast<int>(part.size()))
                                            : ::send(fd_, part.data(), part.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  std::string receive(std::size_t size) override {
    std::string bytes(size, '\0');
    if (!(ssl_ != nullptr && SSL_pending(ssl_) > 0) && !wait(POLLIN)) return {};
    const ssize_t count =
        ssl_ != nullptr ? SSL_read(ssl_, bytes.data(), static_cast<int>(size)) : recv(fd_, bytes.data(), size, 0);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }

  void reset_on_close() override { reset_ = true; }

  void tunnel_to(std::uint16_t port) override {
    const int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool open = connect(other, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0;
    std::string buffer(16u << 10, '\0');
    while (open && !stopping_) {
      pollfd items[2] = {{fd_, POLLIN, 0}, {other, POLLIN, 0}};
      poll(items, 2, 50);
      for (int side = 0; side < 2 && open; ++side) {
        if (items[side].revents == 0) continue;
        const ssize_t count = recv(side == 0 ? fd_ : other, buffer.data(), buffer.size(), 0);
        open = count > 0 &&
               ::send(side == 0 ? other : fd_, buffer.data(), static_cast<std::size_t>(count), MSG_NOSIGNAL) == count;
      }
    }
    close(other);
  }

  void sleep_ms(int milliseconds) override {
    for (int slept = 0; slept < milliseconds && !stopping_; slept += 10)
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min(10, milliseconds - slept)));
  }

 private:
  bool wait(short events) const {
    pollfd item{fd_, events, 0};
    while (!stopping_) {
      if (poll(&item, 1, 50) > 0) return true;
    }
    return false;
  }

  int fd_;
  SSL* ssl_;
  const std::atomic<bool>& stopping_;
  bool reset_ = false;
};

}  // namespace

struct TestServer::Tls {
  SSL_CTX* context = nullptr;

  explicit Tls(const TestCertificate& certificate) : context(SSL_CTX_new(TLS_server_method())) {
    BIO* bio = BIO_new_mem_buf(certificate.certificate.data(), static_cast<int>(certificate.certificate.size()));
    X509* x509 = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(certificate.key.data(), static_cast<int>(certificate.key.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    require(SSL_CTX_use_certificate(context, x509) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1, "certificate");
    X509_free(x509);
    EVP_PKEY_free(key);
  }
  ~Tls() { SSL_CTX_free(context); }
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
};

TestCertificate TestCertificate::make(const std::string& names, long from_seconds, long to_seconds) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x509 = X509_new();
  require(key != nullptr && x509 != nullptr, "no key");
  X509_set_version(x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), from_seconds);
  X509_gmtime_adj(X509_getm_notAfter(x509), to_seconds);
  X509_set_pubkey(x509, key);
  X509_NAME* name = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("moebox test"), -1, -1,
                             0);
  X509_set_issuer_name(x509, name);
  for (const auto& [nid, value] :
       {std::pair(NID_subject_alt_name, names), std::pair(NID_basic_constraints, std::string("critical,CA:TRUE"))}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
    require(extension != nullptr, "extension");
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
  }
  require(X509_sign(x509, key, EVP_sha256()) > 0, "sign");
  BIO* certificate_bio = BIO_new(BIO_s_mem());
  BIO* key_bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate_bio, x509);
  PEM_write_bio_PrivateKey(key_bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(x509);
  EVP_PKEY_free(key);
  return {pem_text(certificate_bio), pem_text(key_bio)};
}

bool ServerStream::answer(int status, const std::string& headers, std::string_view body, bool head_only) {
  std::string head = fmt::format("HTTP/1.1 {} Status\r\n{}", status, headers);
  if (headers.find("Content-Length:") == std::string::npos) head += fmt::format("Content-Length: {}\r\n", body.size());
  return send(head + "\r\n") && (head_only || send(body));
}

TestServer::TestServer(Handler handler, const TestCertificate* certificate, const std::string& address)
    : handler_(std::move(handler)), address_(address) {
  signal(SIGPIPE, SIG_IGN);  // OpenSSL's own BIO on this side
  if (certificate != nullptr) tls_ = std::make_unique<Tls>(*certificate);
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  require(inet_pton(AF_INET, address.c_str(), &name.sin_addr) == 1, "address");
  require(bind(listener_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 && listen(listener_, 64) == 0, "bind");
  socklen_t size = sizeof name;
  getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &size);
  port_ = ntohs(name.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

TestServer::~TestServer() {
  stopping_ = true;
  acceptor_.join();
  close(listener_);
  for (auto& thread : threads_) thread.join();
}

std::string TestServer::url(const std::string& target, const std::string& host) const {
  return fmt::format("{}://{}:{}{}", tls_ ? "https" : "http", host.empty() ? address_ : host, port_, target);
}

std::vector<ServerRequest> TestServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void TestServer::accept_loop() {
  while (!stopping_) {
    pollfd item{listener_, POLLIN, 0};
    if (poll(&item, 1, 20) <= 0) continue;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void TestServer::serve(int fd) {
  const timeval limit{60, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  SSL* ssl = nullptr;
  if (tls_) {
    ssl = SSL_new(tls_->context);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) != 1) {
      SSL_free(ssl);
      close(fd);
      return;
    }
  }
  Stream stream(fd, ssl, stopping_);
  std::string raw;
  while (raw.find("\r\n\r\n") == std::string::npos) {
    const std::string bytes = stream.receive(4096);
    if (bytes.empty()) return;
    raw += bytes;
  }
  const ServerRequest request = parse(raw);
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
  }
  handler_(request, stream);
}

}  // namespace moebox::test

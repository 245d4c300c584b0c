#include "net/tls.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include "net/network_error.h"

namespace moebox {

struct TlsContext::State {
  SSL_CTX* context = nullptr;
  BIO_METHOD* socket_method = nullptr;

  ~State() {
    SSL_CTX_free(context);
    BIO_meth_free(socket_method);
  }
};

namespace {

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "no reason given";
}

int socket_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio))); }

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE in a program that has not asked for it: this one
// does not.
int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t count = send(socket_of(bio), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(count);
}

int bio_read(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t count = recv(socket_of(bio), bytes, static_cast<std::size_t>(size), 0);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  if (count == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(count);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  return command == BIO_CTRL_EOF ? BIO_test_flags(bio, BIO_FLAGS_IN_EOF) : 0;
}

bool is_address(const std::string& host) {
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), buffer) == 1 || inet_pton(AF_INET6, host.c_str(), buffer) == 1;
}

class TlsConnection final : public ClientConnection {
 public:
  TlsConnection(SSL* ssl, Socket socket, Tick tick, std::string where)
      : socket_(std::move(socket)), ssl_(ssl, SSL_free), tick_(std::move(tick)), where_(std::move(where)) {}

  void handshake(Deadline deadline) {
    while (true) {
      ERR_clear_error();
      const int result = SSL_connect(ssl_.get());
      if (result == 1) return;
      const long verified = SSL_get_verify_result(ssl_.get());
      if (verified != X509_V_OK) {
        throw NetworkError(fmt::format("the certificate is not trusted: {}", X509_verify_cert_error_string(verified)),
                           where_, false,
                           "check the machine's clock and ca-certificates; SSL_CERT_FILE names a file with the "
                           "authority of a proxy or mirror");
      }
      wait_or_fail(result, deadline, "the TLS handshake failed");
    }
  }

  std::size_t read(std::span<char> buffer, Deadline deadline) override {
    while (true) {
      std::size_t count = 0;
      ERR_clear_error();
      const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &count);
      if (result == 1) return count;
      if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) return 0;
      wait_or_fail(result, deadline, "the connection was lost");
    }
  }

  void write(std::string_view bytes, Deadline deadline) override {
    while (!bytes.empty()) {
      std::size_t count = 0;
      ERR_clear_error();
      const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count);
      if (result == 1) {
        bytes.remove_prefix(count);
      } else {
        wait_or_fail(result, deadline, "the connection was lost");
      }
    }
  }

 private:
  /// An end without TLS's own goodbye counts as lost: anybody on the way could have cut it.
  void wait_or_fail(int result, Deadline deadline, const char* what) {
    const int system_error = errno;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_WANT_READ) return wait_for(socket_.fd(), POLLIN, deadline, tick_, where_);
    if (error == SSL_ERROR_WANT_WRITE) return wait_for(socket_.fd(), POLLOUT, deadline, tick_, where_);
    const std::string reason =
        error == SSL_ERROR_SYSCALL && system_error != 0 ? std::strerror(system_error) : openssl_reason();
    throw NetworkError(fmt::format("{}: {}", what, reason), where_, true,
                       "check the connection, and whether a proxy is needed (https_proxy)");
  }

  Socket socket_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_;  // goes before the socket that it reads from
  Tick tick_;
  std::string where_;
};

}  // namespace

TlsContext::TlsContext() : state_(std::make_unique<State>()) {
  state_->context = SSL_CTX_new(TLS_client_method());
  // No index of its own: OpenSSL has only 127 of them in the life of a process.
  state_->socket_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "moebox socket");
  if (state_->context == nullptr || state_->socket_method == nullptr)
    throw Error(ErrorKind::internal, "OpenSSL cannot be set up: " + openssl_reason());
  BIO_meth_set_write(state_->socket_method, bio_write);
  BIO_meth_set_read(state_->socket_method, bio_read);
  BIO_meth_set_ctrl(state_->socket_method, bio_control);
  SSL_CTX_set_min_proto_version(state_->context, TLS1_2_VERSION);
  SSL_CTX_set_verify(state_->context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_default_verify_paths(
      state_->context);  // an authority that is missing shows when a certificate is verified
  SSL_CTX_set_mode(state_->context, SSL_MODE_AUTO_RETRY);
  ERR_clear_error();
}

TlsContext::~TlsContext() = default;

std::unique_ptr<ClientConnection> TlsContext::connect(Socket socket, const std::string& host, Deadline deadline,
                                                      Tick tick, const std::string& where) const {
  SSL* ssl = SSL_new(state_->context);
  BIO* bio = BIO_new(state_->socket_method);
  if (ssl == nullptr || bio == nullptr) {
    SSL_free(ssl);
    BIO_free(bio);
    throw Error(ErrorKind::resource, "OpenSSL has no memory for a connection", where);
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket.fd())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  auto connection = std::make_unique<TlsConnection>(ssl, std::move(socket), std::move(tick), where);

  // A name in the certificate must be the host's; wildcards cover one whole label only.
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool named = is_address(host)
                         ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1
                         : SSL_set1_host(ssl, host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
  if (!named) throw Error(ErrorKind::internal, "OpenSSL refuses the host's name", where);
  connection->handshake(deadline);
  return connection;
}

}  // namespace moebox

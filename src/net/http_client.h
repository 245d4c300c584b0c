// A small HTTP/1.1 client for pulling models and calling webhooks: one request a connection, bodies streamed, nothing
// trusted. It does not follow redirects by itself, keeps no cookies, and asks for no compression.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "net/http_message.h"
#include "net/proxy.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/url.h"

namespace moebox {

struct HttpOptions {
  int connect_timeout_ms = 10000;   // over all addresses
  int timeout_ms = 30000;           // of each wait for bytes, and of the TLS handshake
  int head_timeout_ms = 60000;      // for the whole head of an answer
  std::uint64_t minimum_bytes = 1;  // of a body, in every `timeout_ms`
  std::size_t max_head_bytes = 64u << 10;
  std::size_t max_header_fields = 128;
  std::string user_agent = "moebox";
  ProxySettings proxy;
  Tick tick;  // called about ten times a second while waiting; throws to give up
};

struct ClientRequest {
  std::string method = "GET";
  Url url;
  HttpHeaders headers;
  std::string body;  // with Content-Length, when not empty
};

struct ClientResponse {
  int status = 0;
  std::string reason;
  HttpHeaders headers;
  Url url;                                      // that answered
  std::optional<std::uint64_t> content_length;  // as announced
};

struct HttpHandlers {
  std::function<bool(const ClientResponse&)> on_head;  // false: the body is not wanted
  std::function<void(std::string_view)> on_body;       // in pieces of at most 256 KiB
};

/// Whether a status is a redirect that has a Location to go to.
bool is_redirect(const ClientResponse& response);

/// May be used by several threads at once.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);

  /// One exchange. A body that ends early, or is not framed as HTTP has it, throws NetworkError; so do timeouts.
  /// Throws Error(invalid_argument) for a request that could not be sent as it is.
  ClientResponse send(const ClientRequest& request, const HttpHandlers& handlers = {}) const;

  /// Follows redirects (GET and HEAD only). Authorization and cookies go to the first origin only; https never becomes
  /// http.
  ClientResponse send_following(ClientRequest request, const HttpHandlers& handlers = {}, int max_redirects = 10) const;

  /// The request that follows `response`, with what must not reach another origin taken out.
  static ClientRequest redirected(const ClientRequest& request, const ClientResponse& response);

  /// A whole body as text, at most `max_bytes` long.
  std::string fetch(const ClientRequest& request, std::size_t max_bytes, ClientResponse& response) const;

 private:
  std::unique_ptr<ClientConnection> open(const Url& url, const std::optional<Proxy>& proxy) const;
  const TlsContext& tls() const;

  HttpOptions options_;
  mutable std::once_flag tls_once_;
  mutable std::unique_ptr<TlsContext> tls_;  // reading the authorities takes a while: only when https is used
};

}  // namespace moebox

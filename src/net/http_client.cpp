#include "net/http_client.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "net/network_error.h"

namespace moebox {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t buffer_bytes = 256u << 10;
constexpr int max_interim_answers = 8;

/// What came over a connection and is not used yet.
class Reader {
 public:
  Reader(ClientConnection& connection, const HttpOptions& options, std::string where)
      : connection_(connection), options_(options), where_(std::move(where)), buffer_(buffer_bytes) {}

  /// The bytes of a head, with its empty line.
  std::string read_head() {
    const Deadline whole = after_ms(options_.head_timeout_ms);
    std::string head;
    while (true) {
      if (unused().empty() && !fill(std::min(whole, after_ms(options_.timeout_ms)))) {
        throw NetworkError("the connection was closed before an answer came", where_, true, "try again");
      }
      // Not byte by byte over the buffer: the end may lie across two reads.
      const std::size_t search_from = head.size() < 3 ? 0 : head.size() - 3;
      const std::size_t before = head.size();
      head.append(unused());
      const auto end = head.find("\r\n\r\n", search_from);
      if (end != std::string::npos && end + 4 <= options_.max_head_bytes) {
        head.resize(end + 4);
        used_ += head.size() - before;
        return head;
      }
      if (head.size() > options_.max_head_bytes) {
        throw NetworkError(fmt::format("the head of the answer is longer than {} bytes", options_.max_head_bytes),
                           where_, false);
      }
      used_ = filled_;
    }
  }

  /// Some bytes of a body; empty at the end of the stream.
  std::string_view read_body() {
    if (unused().empty()) {
      if (!fill(after_ms(options_.timeout_ms))) return {};
      check_speed();
    }
    const std::string_view result = unused();
    used_ = filled_;
    return result;
  }
  void begin_body() {
    window_start_ = steady_clock::now();
    window_bytes_ = unused().size();
  }
  bool has_unused() const { return used_ != filled_; }

 private:
  std::string_view unused() const { return {buffer_.data() + used_, filled_ - used_}; }
  bool fill(Deadline deadline) {
    used_ = filled_ = 0;
    filled_ = connection_.read(buffer_, deadline);
    return filled_ != 0;
  }

  /// A byte now and then keeps a connection, but not for ever.
  void check_speed() {
    window_bytes_ += filled_;
    if (steady_clock::now() - window_start_ < std::chrono::milliseconds(options_.timeout_ms)) return;
    if (window_bytes_ < options_.minimum_bytes)
      throw NetworkError("the bytes come too slowly", where_, true, "try again");
    window_start_ = steady_clock::now();
    window_bytes_ = 0;
  }

  ClientConnection& connection_;
  const HttpOptions& options_;
  std::string where_;
  std::vector<char> buffer_;
  std::size_t used_ = 0, filled_ = 0;
  Deadline window_start_{};
  std::uint64_t window_bytes_ = 0;
};

void check_request(const ClientRequest& request) {
  const auto fail = [&](const char* what) { throw Error(ErrorKind::invalid_argument, what, request.url.origin()); };
  if (!is_field_name(request.method)) fail("the method cannot be sent");
  for (const auto& [name, value] : request.headers) {
    if (!is_field_name(name) || !is_field_value(value))
      fail("a header field cannot be sent: it has a line end or control characters");
  }
  const bool plain = std::all_of(request.url.target.begin(), request.url.target.end(),
                                 [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!request.url.target.starts_with('/') || !plain) fail("the path of the URL cannot be sent");
}

std::string request_bytes(const ClientRequest& request, const HttpOptions& options,
                          const std::optional<Proxy>& plain_proxy) {
  // A proxy for plain HTTP gets the whole URL.
  std::string text = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\n", request.method,
                                 plain_proxy ? request.url.origin() : "", request.url.target, request.url.authority());
  if (plain_proxy && !plain_proxy->authorization.empty())
    text += fmt::format("Proxy-Authorization: {}\r\n", plain_proxy->authorization);
  if (request.headers.count("User-Agent") == 0) text += fmt::format("User-Agent: {}\r\n", options.user_agent);
  if (request.headers.count("Accept") == 0) text += "Accept: */*\r\n";
  for (const auto& [name, value] : request.headers) text += fmt::format("{}: {}\r\n", name, value);
  if (!request.body.empty()) text += fmt::format("Content-Length: {}\r\n", request.body.size());
  return text + "Accept-Encoding: identity\r\nConnection: close\r\n\r\n" + request.body;
}

void read_length(Reader& reader, std::uint64_t length, const std::function<void(std::string_view)>& sink,
                 const std::string& where) {
  std::uint64_t left = length;
  while (left > 0) {
    const std::string_view bytes = reader.read_body();
    if (bytes.empty()) {
      throw NetworkError(fmt::format("the connection was closed after {} of {} bytes", length - left, length), where,
                         true, "try again");
    }
    const std::string_view part =
        bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, bytes.size())));
    sink(part);
    left -= part.size();
  }
}

void read_body(Reader& reader, const BodyFraming& framing, const std::function<void(std::string_view)>& on_body,
               const std::string& where) {
  const auto sink = [&](std::string_view bytes) {
    if (on_body && !bytes.empty()) on_body(bytes);
  };
  reader.begin_body();
  if (framing.kind == BodyFraming::Kind::length) return read_length(reader, framing.length, sink, where);
  ChunkedDecoder decoder(where);
  const bool chunked = framing.kind == BodyFraming::Kind::chunked;
  while (!(chunked && decoder.done())) {
    const std::string_view bytes = reader.read_body();
    if (bytes.empty()) {
      if (chunked) throw NetworkError("the connection was closed within the chunked coding", where, true, "try again");
      return;
    }
    if (chunked) {
      decoder.feed(bytes, sink);
    } else {
      sink(bytes);
    }
  }
}

}  // namespace

bool is_redirect(const ClientResponse& response) {
  const int s = response.status;
  return (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) && response.headers.count("Location") == 1;
}

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)) {}

const TlsContext& HttpClient::tls() const {
  std::call_once(tls_once_, [&] { tls_ = std::make_unique<TlsContext>(); });
  return *tls_;
}

std::unique_ptr<ClientConnection> HttpClient::open(const Url& url, const std::optional<Proxy>& proxy) const {
  const std::string where = url.authority();
  // Reading the authorities takes a moment, in which the other side would already wait for the handshake.
  if (url.scheme == "https") tls();
  if (!proxy) {
    Socket socket = connect_tcp(url.host, url.port, options_.connect_timeout_ms, options_.tick, where);
    if (url.scheme == "http") return plain_connection(std::move(socket), options_.tick, where);
    return tls().connect(std::move(socket), url.host, after_ms(options_.timeout_ms), options_.tick, where);
  }
  const std::string via = fmt::format("{} by the proxy {}:{}", where, proxy->host, proxy->port);
  Socket socket = connect_tcp(proxy->host, proxy->port, options_.connect_timeout_ms, options_.tick, via);
  if (url.scheme == "http") return plain_connection(std::move(socket), options_.tick, via);

  // The tunnel's answer is read through a second owner of the same socket, which lets go of it before TLS begins.
  struct Borrowed final : ClientConnection {
    int fd;
    const HttpOptions& options;
    const std::string& via;
    Borrowed(int fd, const HttpOptions& options, const std::string& via) : fd(fd), options(options), via(via) {}
    std::size_t read(std::span<char> buffer, Deadline deadline) override {
      return read_some(fd, buffer, deadline, options.tick, via);
    }
    void write(std::string_view bytes, Deadline deadline) override {
      write_whole(fd, bytes, deadline, options.tick, via);
    }
  } tunnel(socket.fd(), options_, via);
  const std::string target =
      fmt::format("{}:{}", url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]", url.port);
  std::string text =
      fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nUser-Agent: {1}\r\n", target, options_.user_agent);
  if (!proxy->authorization.empty()) text += fmt::format("Proxy-Authorization: {}\r\n", proxy->authorization);
  tunnel.write(text + "\r\n", after_ms(options_.timeout_ms));
  Reader reader(tunnel, options_, via);
  const HttpHead head = parse_http_head(reader.read_head(), options_.max_header_fields, via);
  if (head.status == 407)
    throw NetworkError("the proxy wants a user and a password", via, false,
                       "write them as https_proxy=http://user:password@host:port");
  if (head.status / 100 != 2)
    throw NetworkError(fmt::format("the proxy refused: {} {}", head.status, head.reason), via, head.status >= 500);
  if (reader.has_unused()) throw NetworkError("the proxy sent bytes of its own into the tunnel", via, false);
  return tls().connect(std::move(socket), url.host, after_ms(options_.timeout_ms), options_.tick, via);
}

ClientResponse HttpClient::send(const ClientRequest& request, const HttpHandlers& handlers) const {
  check_request(request);
  const std::optional<Proxy> proxy = options_.proxy.find(request.url);
  const std::string where = request.url.authority();
  const std::unique_ptr<ClientConnection> connection = open(request.url, proxy);
  connection->write(request_bytes(request, options_, request.url.scheme == "http" ? proxy : std::nullopt),
                    after_ms(options_.timeout_ms));

  Reader reader(*connection, options_, where);
  HttpHead head;
  for (int interim = 0;; ++interim) {
    head = parse_http_head(reader.read_head(), options_.max_header_fields, where);
    if (head.status >= 200) break;
    if (head.status == 101 || interim == max_interim_answers)
      throw NetworkError(fmt::format("an unexpected answer: {}", head.status), where, false);
  }
  const BodyFraming framing = body_framing(request.method, head, where);
  ClientResponse response{head.status, std::move(head.reason), std::move(head.headers), request.url, std::nullopt};
  if (const auto length = response.headers.find("Content-Length")) response.content_length = parse_decimal(*length);
  const bool wanted = !handlers.on_head || handlers.on_head(response);
  if (wanted && framing.kind != BodyFraming::Kind::none) read_body(reader, framing, handlers.on_body, where);
  return response;
}

ClientRequest HttpClient::redirected(const ClientRequest& request, const ClientResponse& response) {
  ClientRequest next = request;
  try {
    next.url = request.url.resolve(response.headers.find("Location").value_or(""));
  } catch (const Error& e) {
    throw NetworkError("a redirect to nowhere: " + e.message(), request.url.authority(), false);
  }
  if (request.url.scheme == "https" && next.url.scheme == "http") {
    throw NetworkError("a redirect from https to http, which is not followed", request.url.authority(), false);
  }
  if (next.url.origin() != request.url.origin()) {
    for (const char* secret : {"Authorization", "Cookie", "Proxy-Authorization"}) next.headers.remove(secret);
  }
  return next;
}

ClientResponse HttpClient::send_following(ClientRequest request, const HttpHandlers& handlers,
                                          int max_redirects) const {
  if (request.method != "GET" && request.method != "HEAD")
    throw Error(ErrorKind::invalid_argument, "only GET and HEAD follow redirects", request.method);
  HttpHandlers final_only = handlers;
  final_only.on_head = [&](const ClientResponse& response) {
    return !is_redirect(response) && (!handlers.on_head || handlers.on_head(response));
  };
  for (int i = 0;; ++i) {
    ClientResponse response = send(request, final_only);
    if (!is_redirect(response)) return response;
    if (i == max_redirects)
      throw NetworkError(fmt::format("more than {} redirects", max_redirects), request.url.authority(), false);
    request = redirected(request, response);
  }
}

std::string HttpClient::fetch(const ClientRequest& request, std::size_t max_bytes, ClientResponse& response) const {
  std::string body;
  HttpHandlers handlers;
  handlers.on_body = [&](std::string_view bytes) {
    if (bytes.size() > max_bytes - body.size())
      throw NetworkError(fmt::format("the answer is longer than {} bytes", max_bytes), request.url.authority(), false);
    body += bytes;
  };
  response = send_following(request, handlers);
  return body;
}

}  // namespace moebox

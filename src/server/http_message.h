// Requests and answers between the HTTP layer and the handlers. No sockets, no JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace moebox {

struct Route;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded once; what is authorised and what is routed
  int version = 11;    // 10 or 11
  bool keep_alive = true;
  bool expects_continue = false;
  std::optional<std::uint64_t> content_length;  // absent for chunked bodies too

  // The headers that matter here. None of them is trusted; Host decides nothing but who is refused.
  std::string authorization, content_type, content_encoding, host, origin, request_id_header, requested_method;

  std::string body;

  // Filled in by the service when the header is complete.
  std::string request_id;
  const Route* route = nullptr;
  int caller = 0;                                                   // index of the key; 0 without keys
  std::string model_id;                                             // the rest of the path of /v1/models/{id}
  std::vector<std::pair<std::string, std::string>> answer_headers;  // go with every answer to this request
  std::chrono::steady_clock::time_point arrived{};
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool close = false;  // and then close the connection
};

/// Where the answer to one request goes. Every call must be made on executor(). After the answer is complete or the
/// client is gone, calls do nothing.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual boost::asio::any_io_executor executor() = 0;
  /// The whole answer.
  virtual void send(HttpResponse response) = 0;
  /// The head of a streamed answer; then write() any number of times, then end().
  virtual void begin(HttpResponse head) = 0;
  /// False when the reader has fallen back further than ServerLimits::unsent_bytes, or is gone: it is dropped then.
  virtual bool write(std::string_view bytes) = 0;
  virtual void end() = 0;
  /// Called once, on executor(), when the client goes away before the answer is complete.
  virtual void on_gone(std::function<void()> callback) = 0;
};

/// What became of one request: a line of the access log.
struct ExchangeRecord {
  int status = 0;
  std::size_t bytes = 0;
  bool gone = false;  // the client did not wait
};

}  // namespace moebox

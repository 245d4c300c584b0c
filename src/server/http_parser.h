// Bytes of a connection -> requests. Refuses what two HTTP implementations could read in two ways. No sockets.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "server/api_error.h"
#include "server/http_message.h"
#include "server/options.h"

namespace moebox {

/// Parses one request: header, then body. Make a new one for the next request.
class HttpParser {
 public:
  enum class State {
    header,       // more bytes are wanted
    header_done,  // request() has the header; call read_body() to go on
    body,         // more bytes are wanted
    done,         // request() is complete
    failed,       // error() says why; the connection can't go on
  };

  explicit HttpParser(const ServerLimits& limits);
  ~HttpParser();
  HttpParser(HttpParser&&) noexcept;
  HttpParser& operator=(HttpParser&&) noexcept;

  /// Takes bytes from the front of `bytes` and returns how many. Bytes that are not taken come again, with more behind
  /// them.
  std::size_t feed(std::string_view bytes);
  State state() const noexcept;
  /// Goes on from header_done. True when a body follows.
  bool read_body();

  HttpRequest& request() noexcept;
  const ApiError& error() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Splits a request target and decodes the path once; nothing for one that is not "/..." (or "*").
std::optional<std::string> decode_path(std::string_view target);

/// The head of an answer: status line and headers, framed by `content_length`, or chunked when there is none.
std::string response_head(const HttpResponse& response, std::optional<std::size_t> content_length, int version,
                          bool keep_alive);

/// The standard phrase of a status.
std::string_view reason_phrase(int status);

}  // namespace moebox

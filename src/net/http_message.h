// The bytes of an HTTP/1.1 response (RFC 9112), parsed strictly. Pure functions of bytes: no sockets here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebox {

/// Header fields in their order. Names compare without regard to case.
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string, std::string>> fields) : fields_(fields) {}

  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  /// The first field of this name.
  std::optional<std::string> find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  void remove(std::string_view name);

  std::size_t size() const noexcept { return fields_.size(); }
  auto begin() const noexcept { return fields_.begin(); }
  auto end() const noexcept { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct HttpHead {
  int status = 0;
  std::string reason;
  HttpHeaders headers;
};

/// Parses status line and fields, up to and with the empty line. Throws NetworkError(not retryable) that says what is
/// wrong; `where` names the other side.
HttpHead parse_http_head(std::string_view bytes, std::size_t max_fields, const std::string& where);

/// How the end of a body is found.
struct BodyFraming {
  enum class Kind { none, length, chunked, until_close };
  Kind kind = Kind::none;
  std::uint64_t length = 0;
};

/// Refuses what two readers could understand differently: more than one Content-Length, one beside Transfer-Encoding,
/// any coding but chunked, and a Content-Encoding, because none was asked for.
BodyFraming body_framing(std::string_view method, const HttpHead& head, const std::string& where);

/// Digits only, within 64 bits.
std::optional<std::uint64_t> parse_decimal(std::string_view digits);

/// Takes the chunked coding apart as bytes come.
class ChunkedDecoder {
 public:
  explicit ChunkedDecoder(std::string where) : where_(std::move(where)) {}

  /// Hands the contents to `sink`. Throws NetworkError for sizes that overflow, lines that do not end, and other
  /// nonsense.
  void feed(std::string_view bytes, const std::function<void(std::string_view)>& sink);
  bool done() const noexcept { return state_ == State::done; }

 private:
  enum class State { size_line, data, data_end, trailer, done };
  void end_line();

  std::string where_, line_;
  State state_ = State::size_line;
  std::uint64_t left_ = 0;
  std::size_t trailer_bytes_ = 0;
};

/// A field name as RFC 9110 has it, and a value without line ends: what may be sent.
bool is_field_name(std::string_view name);
bool is_field_value(std::string_view value);

}  // namespace moebox

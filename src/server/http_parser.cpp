#include "server/http_parser.h"

#include <algorithm>

#include <arpa/inet.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace moebox {
namespace {

namespace http = boost::beast::http;

constexpr int most_empty_lines = 8;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

bool same_without_case(std::string_view a, std::string_view b) {
  return boost::beast::iequals(boost::beast::string_view(a.data(), a.size()),
                               boost::beast::string_view(b.data(), b.size()));
}

ApiError protocol_error(int status, std::string message) {
  ApiError error = bad_request(std::move(message));
  error.status = status;
  error.worth_retrying = false;
  return error;
}

/// "host" or "host:port", as RFC 9110, section 7.2, has it: a name, an IPv4 address, or an IPv6 address in brackets; it
/// may be empty.
bool is_host(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return false;
    in6_addr address{};
    if (::inet_pton(AF_INET6, std::string(text.substr(1, end - 1)).c_str(), &address) != 1) return false;
    port = text.substr(end + 1);
  } else {
    const auto end = text.find(':');
    constexpr std::string_view marks = "-._~!$&'()*+,;=%";
    const bool is_name =
        std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(end, text.size())), [&](char c) {
          return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                 marks.find(c) != std::string_view::npos;
        });
    if (!is_name) return false;
    if (end != std::string_view::npos) port = text.substr(end);
  }
  return port.empty() || (port.front() == ':' && std::all_of(port.begin() + 1, port.end(), is_digit));
}

ApiError parse_failure(const boost::beast::error_code& code, const ServerLimits& limits) {
  if (code == http::error::header_limit || code == http::error::buffer_overflow) {
    return protocol_error(431,
                          "The request's header is larger than " + std::to_string(limits.header_bytes) + " bytes.");
  }
  if (code == http::error::body_limit) {
    return protocol_error(413, "The request's body is larger than " + std::to_string(limits.body_bytes) + " bytes.");
  }
  if (code == http::error::bad_version) return protocol_error(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
  return protocol_error(400, "The request is not valid HTTP: " + code.message() + ".");
}

}  // namespace

struct HttpParser::Impl {
  explicit Impl(const ServerLimits& limits) : limits(limits) {
    parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    parser.body_limit(limits.body_bytes);
    parser.eager(false);
  }

  void fail(ApiError why) {
    error = std::move(why);
    state = State::failed;
  }

  /// The value of a header that may occur once at most; fails when it occurs twice.
  std::string single(http::field field) {
    const auto& head = parser.get();
    const auto range = head.equal_range(field);
    if (range.first == range.second) return {};
    if (std::next(range.first) != range.second) {
      fail(protocol_error(400, "The header " + std::string(view(http::to_string(field))) + " occurs twice."));
    }
    return std::string(view(range.first->value()));
  }

  /// The values of a header that is a list, as if they had come in one line.
  std::string list(http::field field) const {
    std::string values;
    const auto range = parser.get().equal_range(field);
    for (auto it = range.first; it != range.second; ++it) {
      if (!values.empty()) values += ", ";
      values += view(it->value());
    }
    return values;
  }

  /// How many bytes of empty lines are at the front. Clients end a body with a line that does not belong to it (RFC
  /// 9112, section 2.2); more than a few are no mistake.
  std::size_t empty_lines(std::string_view text) {
    std::size_t n = 0;
    while (!line_begun && text.substr(n).starts_with("\r\n")) {
      n += 2;
      if (++n_empty_lines > most_empty_lines) {
        fail(protocol_error(400, "Too many empty lines come before the request."));
        break;
      }
    }
    return n;
  }

  /// Looks at the header's bytes that were not there before; fails on a line that ends with LF alone, which some
  /// servers take for an end and others do not.
  void look_at_lines(std::string_view text) {
    for (; n_seen < text.size() && !header_ended; ++n_seen) {
      const char c = text[n_seen];
      if (c == '\n' && previous != '\r') return fail(protocol_error(400, "Lines of the header must end with CR LF."));
      if (c == '\n') {
        header_ended = line_bytes == 1;
        line_bytes = 0;
      } else {
        line_begun = true;
        ++line_bytes;
      }
      previous = c;
    }
  }

  /// `text`: all fields as they came; Beast takes them at once, and joins folded lines.
  void take_header(std::string_view text) {
    const auto& head = parser.get();
    state = State::header_done;
    if (text.find("\r\n ") != std::string_view::npos || text.find("\r\n\t") != std::string_view::npos)
      return fail(protocol_error(400, "A header is folded over several lines."));
    request.version = static_cast<int>(head.version());
    if (request.version != 10 && request.version != 11) return fail(parse_failure(http::error::bad_version, limits));
    int n_fields = 0;
    for (const auto& field : head) {
      if (++n_fields > limits.header_fields) {
        return fail(
            protocol_error(431, "The request has more than " + std::to_string(limits.header_fields) + " headers."));
      }
      // Stray control characters are read differently by different servers.
      for (const char c : field.value()) {
        if (static_cast<unsigned char>(c) < 0x20 && c != '\t')
          return fail(protocol_error(400, "A header has a control character."));
      }
    }
    request.method = std::string(view(head.method_string()));
    request.keep_alive = parser.keep_alive();
    request.authorization = single(http::field::authorization);
    request.content_type = single(http::field::content_type);
    request.content_encoding = list(http::field::content_encoding);
    request.host = single(http::field::host);
    request.origin = single(http::field::origin);
    request.requested_method = single(http::field::access_control_request_method);
    const std::string transfer = single(http::field::transfer_encoding);
    const std::string length = single(http::field::content_length);
    const std::string expect = single(http::field::expect);
    if (state == State::failed) return;
    if (!is_host(request.host)) return fail(protocol_error(400, "The header Host is neither a name nor an address."));
    request.request_id_header = std::string(view(head["X-Request-Id"]));

    if (length.find_first_not_of("0123456789") != std::string::npos) {
      return fail(protocol_error(400, "Content-Length is not a number."));
    }
    if (request.version == 11 && head.count(http::field::host) == 0)
      return fail(protocol_error(400, "The header Host is missing."));
    if (!transfer.empty() && (!same_without_case(transfer, "chunked") || request.version == 10)) {
      return fail(protocol_error(501, "The only transfer coding understood here is chunked, in HTTP/1.1."));
    }
    if (!transfer.empty() && !length.empty())
      return fail(protocol_error(400, "Content-Length and Transfer-Encoding exclude each other."));
    if (head.count(http::field::upgrade) != 0 && same_without_case(view(head[http::field::connection]), "upgrade")) {
      return fail(protocol_error(400, "This server does not change protocols."));
    }
    if (!expect.empty()) {
      if (!same_without_case(expect, "100-continue"))
        return fail(protocol_error(417, "Only \"Expect: 100-continue\" can be met."));
      request.expects_continue = request.version == 11;
    }
    if (const auto n_bytes = parser.content_length()) request.content_length = *n_bytes;
    const auto path = decode_path(view(head.target()));
    if (!path) return fail(protocol_error(400, "The request's target is not a path."));
    request.path = *path;
  }

  /// Beast (Boost 1.81) asserts that an empty chunk after no other comes with the line behind it: it is not shown less.
  bool may_be_a_part_of_the_end(std::string_view body) const {
    constexpr std::string_view shortest_end = "0\r\n\r\n";
    return state == State::body && parser.chunked() && body.front() == '0' && body.size() < shortest_end.size();
  }

  const ServerLimits limits;
  http::request_parser<http::string_body> parser;
  HttpRequest request;
  ApiError error;
  State state = State::header;
  std::size_t raw_body_bytes = 0;  // with the framing of chunks

  // Lines of the header, as far as they have been looked at.
  std::size_t n_seen = 0;      // bytes at the front of what is not taken yet
  std::size_t line_bytes = 0;  // of the line at hand
  char previous = 0;
  bool line_begun = false, header_ended = false;
  int n_empty_lines = 0;
};

HttpParser::HttpParser(const ServerLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
HttpParser::~HttpParser() = default;
HttpParser::HttpParser(HttpParser&&) noexcept = default;
HttpParser& HttpParser::operator=(HttpParser&&) noexcept = default;

HttpParser::State HttpParser::state() const noexcept { return impl_->state; }
HttpRequest& HttpParser::request() noexcept { return impl_->request; }
const ApiError& HttpParser::error() const noexcept { return impl_->error; }

std::size_t HttpParser::feed(std::string_view bytes) {
  Impl& impl = *impl_;
  std::size_t taken = 0;
  while (impl.state == State::header || impl.state == State::body) {
    if (impl.state == State::header) {
      taken += impl.empty_lines(bytes.substr(taken));
      const std::string_view line = bytes.substr(taken);
      if (!impl.line_begun && line == "\r") break;  // of an empty line, perhaps
      if (impl.state == State::header) impl.look_at_lines(line);
      if (impl.state == State::failed) break;
    }
    const std::string_view rest = bytes.substr(taken);
    if (rest.empty()) break;
    if (impl.may_be_a_part_of_the_end(rest)) break;
    boost::beast::error_code code;
    const std::size_t n = impl.parser.put(boost::asio::buffer(rest.data(), rest.size()), code);
    taken += n;
    impl.n_seen -= std::min(impl.n_seen, n);
    if (impl.state == State::body) {
      impl.raw_body_bytes += n;
      // Chunks of one byte each, endless extensions and trailers cost work without counting as body.
      if (impl.raw_body_bytes > 8 * impl.limits.body_bytes + impl.limits.header_bytes) {
        impl.fail(parse_failure(http::error::body_limit, impl.limits));
        break;
      }
    }
    if (code == http::error::need_more) {
      if (rest.size() - n > impl.limits.header_bytes) impl.fail(parse_failure(http::error::header_limit, impl.limits));
      break;
    }
    if (code) {
      impl.fail(parse_failure(code, impl.limits));
      break;
    }
    if (impl.state == State::header && impl.parser.is_header_done()) {
      impl.take_header(rest.substr(0, n));
    } else if (impl.state == State::body && impl.parser.is_done()) {
      impl.request.body = std::move(impl.parser.get().body());
      impl.state = State::done;
    } else if (n == 0) {
      break;
    }
  }
  return taken;
}

bool HttpParser::read_body() {
  Impl& impl = *impl_;
  impl.parser.eager(true);
  impl.state = State::body;
  if (impl.parser.is_done()) impl.state = State::done;
  return impl.state == State::body;
}

std::optional<std::string> decode_path(std::string_view target) {
  if (target == "*") return std::string("*");
  if (target.empty() || target.front() != '/') return std::nullopt;
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (std::size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      if (i + 2 >= target.size()) return std::nullopt;
      const int high = digit(target[i + 1]), low = digit(target[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
    path += c;
  }
  return path;
}

std::string_view reason_phrase(int status) { return view(http::obsolete_reason(static_cast<http::status>(status))); }

std::string response_head(const HttpResponse& response, std::optional<std::size_t> content_length, int version,
                          bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head += reason_phrase(response.status);
  head += "\r\n";
  const auto add = [&head](std::string_view name, std::string_view value) {
    head += name;
    head += ": ";
    head += value;
    head += "\r\n";
  };
  add("Server", "moebox");
  if (response.status != 204) add("Content-Type", response.content_type);
  for (const auto& [name, value] : response.headers) add(name, value);
  if (response.status != 204) {
    if (content_length)
      add("Content-Length", std::to_string(*content_length));
    else if (version == 11)
      add("Transfer-Encoding", "chunked");
  }
  if (!keep_alive)
    add("Connection", "close");
  else if (version == 10)
    add("Connection", "keep-alive");
  head += "\r\n";
  return head;
}

}  // namespace moebox

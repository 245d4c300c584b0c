#include "net/http_message.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/core.h>

#include "net/network_error.h"

namespace moebox {
namespace {

constexpr std::size_t max_chunk_line_bytes = 4096;
constexpr std::size_t max_trailer_bytes = 16u << 10;

[[noreturn]] void fail(const std::string& where, std::string message) {
  throw NetworkError("the answer is not valid HTTP: " + std::move(message), where, false);
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::tolower(x) == std::tolower(y);
         });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// HTTP/1.x SP 3DIGIT [SP reason]
void parse_status_line(std::string_view line, HttpHead& head, const std::string& where) {
  const bool version = line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ");
  if (!version || line.size() < 12 || !std::all_of(line.begin() + 9, line.begin() + 12, is_digit) ||
      (line.size() > 12 && line[12] != ' ')) {
    fail(where, "no status line of HTTP/1.1");
  }
  std::from_chars(line.data() + 9, line.data() + 12, head.status);
  if (head.status < 100 || head.status > 599) fail(where, fmt::format("status {}", head.status));
  for (const char c : line.substr(std::min<std::size_t>(13, line.size()))) {
    if (c >= 0x20 && c < 0x7f) head.reason += c;
  }
}

}  // namespace

std::optional<std::string> HttpHeaders::find(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (same_name(key, name)) return value;
  }
  return std::nullopt;
}

std::size_t HttpHeaders::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(fields_.begin(), fields_.end(), [&](const auto& field) { return same_name(field.first, name); }));
}

void HttpHeaders::remove(std::string_view name) {
  std::erase_if(fields_, [&](const auto& field) { return same_name(field.first, name); });
}

bool is_field_name(std::string_view name) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](unsigned char c) {
    return std::isalnum(c) || marks.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_field_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; });
}

HttpHead parse_http_head(std::string_view bytes, std::size_t max_fields, const std::string& where) {
  HttpHead head;
  bool first = true;
  while (true) {
    const auto end = bytes.find("\r\n");
    if (end == std::string_view::npos) fail(where, "a line of the head does not end");
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + 2);
    if (line.find('\n') != std::string_view::npos || line.find('\r') != std::string_view::npos)
      fail(where, "a stray line end in the head");
    if (first) {
      parse_status_line(line, head, where);
      first = false;
      continue;
    }
    if (line.empty()) return head;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || !is_field_name(line.substr(0, colon)))
      fail(where, "a header field without a name");
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_field_value(value)) fail(where, "control characters in a header field");
    if (head.headers.size() == max_fields) fail(where, fmt::format("more than {} header fields", max_fields));
    head.headers.add(std::string(line.substr(0, colon)), std::string(value));
  }
}

std::optional<std::uint64_t> parse_decimal(std::string_view digits) {
  std::uint64_t value = 0;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return result.ec == std::errc() ? std::optional(value) : std::nullopt;
}

BodyFraming body_framing(std::string_view method, const HttpHead& head, const std::string& where) {
  const auto length_text = head.headers.find("Content-Length");
  const auto coding = head.headers.find("Transfer-Encoding");
  std::optional<std::uint64_t> length;
  if (length_text) {
    length = parse_decimal(*length_text);
    if (head.headers.count("Content-Length") > 1) fail(where, "more than one Content-Length");
    if (!length) fail(where, "a Content-Length that is no number");
  }
  if (coding && length) fail(where, "both Content-Length and Transfer-Encoding");
  if (coding && (!same_name(*coding, "chunked") || head.headers.count("Transfer-Encoding") > 1))
    fail(where, "a transfer coding that is not chunked");

  using Kind = BodyFraming::Kind;
  if (method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) return {Kind::none, 0};
  if (const auto encoding = head.headers.find("Content-Encoding"); encoding && !same_name(*encoding, "identity")) {
    fail(where, "a compressed body, which was not asked for");
  }
  if (coding) return {Kind::chunked, 0};
  if (length) return {Kind::length, *length};
  return {Kind::until_close, 0};
}

void ChunkedDecoder::feed(std::string_view bytes, const std::function<void(std::string_view)>& sink) {
  while (!bytes.empty() && state_ != State::done) {
    if (state_ == State::data) {
      const std::string_view part =
          bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
      sink(part);
      bytes.remove_prefix(part.size());
      left_ -= part.size();
      if (left_ == 0) state_ = State::data_end;
      continue;
    }
    const char c = bytes.front();
    bytes.remove_prefix(1);
    line_ += c;
    if (line_.size() > max_chunk_line_bytes) fail(where_, "a line of the chunked coding that does not end");
    if (c == '\n') end_line();
  }
}

void ChunkedDecoder::end_line() {
  if (!line_.ends_with("\r\n")) fail(where_, "a stray line end in the chunked coding");
  std::string_view line(line_.data(), line_.size() - 2);
  if (state_ == State::data_end) {
    if (!line.empty()) fail(where_, "a chunk longer than its size");
    state_ = State::size_line;
  } else if (state_ == State::size_line) {
    line = trimmed(line.substr(0, line.find(';')));
    const auto result = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
    // from_chars takes no sign and no "0x" for an unsigned number.
    if (line.empty() || result.ec != std::errc() || result.ptr != line.data() + line.size())
      fail(where_, "a chunk size that cannot be one");
    state_ = left_ == 0 ? State::trailer : State::data;
  } else {
    trailer_bytes_ += line_.size();
    if (trailer_bytes_ > max_trailer_bytes) fail(where_, "a trailer that does not end");
    if (line.empty()) state_ = State::done;
  }
  line_.clear();
}

}  // namespace moebox

#include "net/url.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include <arpa/inet.h>
#include <fmt/core.h>

#include "base/error.h"

namespace moebox {
namespace {

constexpr std::size_t max_url_bytes = 16u << 10;  // signed links of a CDN are long

[[noreturn]] void fail(std::string_view text, std::string_view problem) {
  std::string shown;
  for (const unsigned char c : text.substr(0, 200)) shown += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?';
  throw Error(ErrorKind::invalid_argument, fmt::format("the URL \"{}\" {}", shown, problem), {},
              "expected http(s)://host[:port]/path");
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253 || host.front() == '-' || host.front() == '.') return false;
  if (host.find("..") != std::string_view::npos) return false;
  return std::all_of(host.begin(), host.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '.' || c == '_'; });
}

bool is_ipv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

std::uint16_t parse_port(std::string_view url, std::string_view digits) {
  const bool is_number = !digits.empty() && digits.size() <= 5 &&
                         std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); });
  const int port = is_number ? std::stoi(std::string(digits)) : 0;
  if (port < 1 || port > 65535) fail(url, "has a port that cannot be one");
  return static_cast<std::uint16_t>(port);
}

void parse_authority(std::string_view url, std::string_view authority, Url& result) {
  if (authority.find('@') != std::string_view::npos) fail(url, "has a user name or password in it");
  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) fail(url, "has an address without its closing bracket");
    result.host = authority.substr(1, close - 1);
    if (!is_ipv6(result.host)) fail(url, "has brackets around what is no IPv6 address");
    const std::string_view rest = authority.substr(close + 1);
    has_port = rest.starts_with(':');
    if (has_port) port = rest.substr(1);
    if (!rest.empty() && !has_port) fail(url, "has something after its address");
  } else {
    const auto colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
    result.host = authority.substr(0, colon);
    if (!is_host_name(result.host)) fail(url, "has a host that cannot be one");
  }
  std::transform(result.host.begin(), result.host.end(), result.host.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  result.port = has_port ? parse_port(url, port) : (result.scheme == "https" ? 443 : 80);
}

/// RFC 3986, 5.2.4, for an absolute path without its query.
std::string without_dot_segments(std::string_view path) {
  std::vector<std::string_view> kept;
  bool ends_in_folder = false;
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const auto slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
    ends_in_folder = segment == "." || segment == "..";
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!ends_in_folder) kept.push_back(segment);
  }
  std::string result;
  for (const auto segment : kept) result.append("/").append(segment);
  if (ends_in_folder || result.empty()) result += '/';
  return result;
}

}  // namespace

Url Url::parse(std::string_view text) {
  if (text.size() > max_url_bytes) fail(text, "is longer than 16 KiB");
  if (!is_printable_ascii(text)) fail(text, "has spaces, control or non-ASCII characters");
  const auto colon = text.find("://");
  if (colon == std::string_view::npos) fail(text, "has no scheme");
  Url result;
  result.scheme = text.substr(0, colon);
  std::transform(result.scheme.begin(), result.scheme.end(), result.scheme.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (result.scheme != "http" && result.scheme != "https") fail(text, "is neither http nor https");
  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const auto end = rest.find_first_of("/?\\");
  parse_authority(text, rest.substr(0, end), result);
  const std::string_view target = end == std::string_view::npos ? std::string_view() : rest.substr(end);
  if (target.starts_with('\\')) fail(text, "has a backslash after its host");
  result.target = target.starts_with('/') ? std::string(target) : "/" + std::string(target);
  return result;
}

Url Url::resolve(std::string_view reference) const {
  if (reference.empty() || !is_printable_ascii(reference))
    fail(reference, "is empty, or has spaces, control or non-ASCII characters");
  if (reference.starts_with("//")) return parse(scheme + ":" + std::string(reference));
  const auto colon = reference.find(':');
  const auto delimiter = reference.find_first_of("/?#");
  if (colon != std::string_view::npos && (delimiter == std::string_view::npos || colon < delimiter))
    return parse(reference);

  reference = reference.substr(0, reference.find('#'));
  const auto query_at = reference.find('?');
  const std::string_view path = reference.substr(0, query_at);
  const std::string query(query_at == std::string_view::npos ? std::string_view() : reference.substr(query_at));
  const std::string own_path = target.substr(0, target.find('?'));
  Url result = *this;
  if (path.empty()) {
    result.target = own_path + query;
  } else if (path.starts_with('/')) {
    result.target = without_dot_segments(path) + query;
  } else {
    result.target = without_dot_segments(own_path.substr(0, own_path.rfind('/') + 1) + std::string(path)) + query;
  }
  if (result.target.size() > max_url_bytes) fail(reference, "is longer than 16 KiB");
  return result;
}

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (scheme == "https" ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::origin() const { return scheme + "://" + authority(); }

std::string percent_encode(std::string_view text, bool keep_slashes) {
  std::string result;
  for (const unsigned char c : text) {
    const bool plain =
        (c < 0x80 && std::isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/');
    result += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return result;
}

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  in_addr address;
  return inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace moebox

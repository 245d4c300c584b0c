// http and https URLs, parsed strictly (RFC 3986): what is odd is refused, never repaired.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moebox {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address without its brackets
  std::uint16_t port = 0;
  std::string target;  // path and query; begins with '/'; the fragment is dropped

  /// Throws Error(invalid_argument): another scheme, user:password@, spaces, control or non-ASCII characters, no host.
  static Url parse(std::string_view text);
  /// What `reference` (a Location header) means seen from here. Throws as parse() does.
  Url resolve(std::string_view reference) const;

  /// host, or host:port where the port is not the scheme's own; for the Host header.
  std::string authority() const;
  /// scheme://authority, for comparing and for messages.
  std::string origin() const;
  std::string text() const { return origin() + target; }
};

/// Percent-encodes everything but letters, digits and "-._~" (and '/', with `keep_slashes`).
std::string percent_encode(std::string_view text, bool keep_slashes);

/// "localhost", 127.0.0.0/8 or ::1.
bool is_loopback(std::string_view host);

}  // namespace moebox

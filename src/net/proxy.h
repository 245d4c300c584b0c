// Which proxy a URL goes through: http_proxy, https_proxy and no_proxy, as other programs read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "net/url.h"

namespace moebox {

struct Proxy {
  std::string host;
  std::uint16_t port = 0;
  std::string authorization;  // the value of Proxy-Authorization; empty without user and password
};

struct ProxySettings {
  std::string http_proxy, https_proxy;  // http://[user:password@]host[:port]
  std::string no_proxy;  // host names, comma separated; ".example.org" and "example.org" cover what is below; "*"

  /// Loopback addresses never go through a proxy. Throws Error(invalid_argument) for a proxy that is not http://.
  std::optional<Proxy> find(const Url& url) const;
};

/// Lower case before upper case; HTTP_PROXY in upper case is not read (a CGI request can set it).
ProxySettings proxy_from_environment();

}  // namespace moebox

#include "net/proxy.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <vector>

#include <openssl/evp.h>

#include "base/error.h"

namespace moebox {
namespace {

std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return {};
}

std::string base64(const std::string& text) {
  std::vector<unsigned char> buffer(4 * ((text.size() + 2) / 3) + 1);
  const int size = EVP_EncodeBlock(buffer.data(), reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  return {reinterpret_cast<const char*>(buffer.data()), static_cast<std::size_t>(size)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

std::string percent_decode(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) i += 2;
    result += low >= 0 ? static_cast<char>(high * 16 + low) : text[i];
  }
  return result;
}

Proxy parse_proxy(std::string text) {
  // The message leaves out the text: it may hold a password.
  const auto fail = [](const std::string& message) {
    throw Error(ErrorKind::invalid_argument, message, "http_proxy or https_proxy",
                "expected http://[user:password@]host:port");
  };
  if (text.find("://") == std::string::npos) text = "http://" + text;
  if (!text.starts_with("http://")) fail("only proxies that speak plain HTTP are supported");
  Proxy proxy;
  std::string rest = text.substr(7);
  rest = rest.substr(0, rest.find('/'));
  if (const auto at = rest.rfind('@'); at != std::string::npos) {
    proxy.authorization = "Basic " + base64(percent_decode(rest.substr(0, at)));
    rest = rest.substr(at + 1);
  }
  try {
    const Url url = Url::parse("http://" + rest + "/");
    proxy.host = url.host;
    proxy.port = url.port;
  } catch (const Error&) {
    fail("the proxy's address cannot be understood");
  }
  return proxy;
}

bool is_excluded(std::string_view list, const Url& url) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    std::string entry;
    for (const char c : list.substr(0, comma)) {
      if (c != ' ' && c != '\t') entry += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    if (entry == "*") return true;
    if (entry.starts_with("*.")) entry.erase(0, 1);
    if (entry == url.host || entry == url.authority()) return true;
    const std::string suffix = entry.starts_with('.') ? entry : "." + entry;
    if (suffix.size() > 1 && (url.host.ends_with(suffix) || "." + url.host == suffix)) return true;
  }
  return false;
}

}  // namespace

std::optional<Proxy> ProxySettings::find(const Url& url) const {
  const std::string& proxy = url.scheme == "https" ? https_proxy : http_proxy;
  if (proxy.empty() || is_loopback(url.host) || is_excluded(no_proxy, url)) return std::nullopt;
  return parse_proxy(proxy);
}

ProxySettings proxy_from_environment() {
  return {variable({"http_proxy", "all_proxy", "ALL_PROXY"}),
          variable({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}), variable({"no_proxy", "NO_PROXY"})};
}

}  // namespace moebox

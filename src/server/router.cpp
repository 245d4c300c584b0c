#include "server/router.h"

namespace moebox {
namespace {

constexpr Route routes[] = {
    {"POST", "/v1/chat/completions", Endpoint::chat, true},
    {"POST", "/v1/completions", Endpoint::completions, true},
    {"GET", "/v1/models", Endpoint::models, true},
    {"GET", "/v1/models/{id}", Endpoint::model, true},
    {"POST", "/tokenize", Endpoint::tokenize, true},
    {"POST", "/detokenize", Endpoint::detokenize, true},
    {"GET", "/health", Endpoint::health, false},
    {"GET", "/ready", Endpoint::ready, false},
    {"GET", "/metrics", Endpoint::metrics, true},
};

}  // namespace

RouteMatch find_route(std::string_view method, std::string_view path) {
  constexpr std::string_view variable = "{id}";  // stands for the rest of a path
  RouteMatch match;
  for (const Route& route : routes) {
    std::string_view id;
    if (route.path.ends_with(variable)) {
      const std::string_view stem = route.path.substr(0, route.path.size() - variable.size());
      if (!path.starts_with(stem) || path.size() == stem.size()) continue;
      id = path.substr(stem.size());
    } else if (route.path != path) {
      continue;
    }
    if (!match.allowed.empty()) match.allowed += ", ";
    match.allowed += route.method;
    if (route.method == "GET") match.allowed += ", HEAD";
    if (method == route.method || (method == "HEAD" && route.method == "GET")) {
      match.route = &route;
      match.id = std::string(id);
    }
  }
  return match;
}

}  // namespace moebox

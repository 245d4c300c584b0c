// Paths and methods -> endpoints: one table, read once a request; authorisation is decided on the route that is found
// here.
#pragma once

#include <string>
#include <string_view>

#include "server/request.h"

namespace moebox {

struct Route {
  std::string_view method;  // GET also stands for HEAD
  std::string_view path;    // what logs and metrics show; a trailing "{id}" stands for the rest of the path
  Endpoint endpoint;
  bool needs_key;
};

struct RouteMatch {
  const Route* route = nullptr;  // nullptr: no such path, or not with this method
  std::string allowed;           // the methods of the path; empty when there is no such path
  std::string id;                // what stood for {id}
};

RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace moebox

// JSON from strangers: UTF-8 only, no key twice, no number out of range, bounded in depth and in number of values. The
// order of keys is kept: chat templates print objects as the client wrote them.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

namespace moebox {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  int depth = 64;
  int values = 1'000'000;
};

/// Throws ApiException (400) that says what is wrong, at which byte, and within which field.
Json parse_strict_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace moebox

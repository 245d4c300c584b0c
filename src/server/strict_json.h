// JSON from strangers: UTF-8 only, no key twice, no number out of range, bounded in depth and in number of values.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

namespace moebox {

struct JsonLimits {
  int depth = 64;
  int values = 1'000'000;
};

/// Throws ApiException (400) that says what is wrong, at which byte, and within which field.
nlohmann::json parse_strict_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace moebox

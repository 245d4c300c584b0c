// JSON as this program prints it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace moebox::cli {

/// `value` as text; bytes that are not UTF-8 (a model file's strings need not be) become U+FFFD.
inline std::string json_text(const nlohmann::ordered_json& value, int indent = -1) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace moebox::cli

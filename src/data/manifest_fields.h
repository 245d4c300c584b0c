// The fields of one object of a manifest: all that are expected, of their types, and no others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json_file.h"
#include "io/quote.h"

namespace moebox::data {

class ManifestFields {
 public:
  /// Throws Error(invalid_file) for what is no object, or lacks one of `keys`, or has others. `object` and `where` must
  /// outlive this.
  ManifestFields(const nlohmann::json& object, const std::string& where, std::initializer_list<const char*> keys)
      : object_(object), where_(where) {
    if (!object.is_object()) throw_invalid("expected an object");
    for (const char* key : keys)
      if (!object.contains(key)) throw_invalid("the key " + quote(key) + " is missing");
    for (const auto& [key, value] : object.items())
      if (std::ranges::find(keys, std::string_view(key)) == keys.end())
        throw_invalid("the key " + quote(key) + " is not known");
  }

  const nlohmann::json& value(const char* key) const { return object_.at(key); }
  std::string text(const char* key) const {
    if (!value(key).is_string()) refuse(key, "a text");
    return value(key).get<std::string>();
  }
  /// A whole number from 1.
  std::int64_t count(const char* key) const {
    if (!value(key).is_number_unsigned() || value(key).get<std::uint64_t>() < 1 ||
        value(key).get<std::uint64_t>() > (std::uint64_t{1} << 53))
      refuse(key, "a whole number from 1");
    return value(key).get<std::int64_t>();
  }
  const std::vector<nlohmann::json>& list(const char* key, std::size_t most) const {
    if (!value(key).is_array() || value(key).size() > most) refuse(key, "an array of at most " + std::to_string(most));
    return value(key).get_ref<const nlohmann::json::array_t&>();
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    throw_invalid("expected " + expected + " as " + quote(key) + ", found " +
                  quote(value(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }

 private:
  [[noreturn]] void throw_invalid(std::string message) const {
    throw Error(ErrorKind::invalid_file, std::move(message), where_, "the manifest is damaged: build the data again");
  }

  const nlohmann::json& object_;
  const std::string& where_;
};

}  // namespace moebox::data

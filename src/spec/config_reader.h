// Typed look-ups in a config.json, with errors that name the field.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebox {

/// Reads fields of one JSON object. A missing or null field takes the fallback, or is an Error when there is none.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw Error(ErrorKind::invalid_file, "expected a JSON object", where_);
  }

  bool has(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && !found->is_null();
  }

  /// An integer in [low, high].
  int integer(const char* key, int low, int high, std::optional<int> fallback = {}) const {
    if (!has(key)) return required(fallback, key);
    const auto& value = object_.at(key);
    if (!value.is_number_integer()) fail(key, "an integer", value);
    const auto number =
        value.is_number_unsigned() && value.get<std::uint64_t>() > INT32_MAX ? INT64_MAX : value.get<std::int64_t>();
    if (number < low || number > high) fail(key, std::to_string(low) + " to " + std::to_string(high), value);
    return static_cast<int>(number);
  }

  /// A number in [low, high]; in any case one that a float holds.
  float number(const char* key, float low, float high, std::optional<float> fallback = {}) const {
    if (!has(key)) return required(fallback, key);
    const auto& value = object_.at(key);
    if (!value.is_number()) fail(key, "a number", value);
    const auto number = value.get<double>();
    if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)))
      fail(key, fmt::format("a number from {:g} to {:g}", low, high), value);
    return static_cast<float>(number);
  }
  float number(const char* key, std::optional<float> fallback = {}) const {
    return number(key, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max(), fallback);
  }

  bool boolean(const char* key, std::optional<bool> fallback = {}) const {
    if (!has(key)) return required(fallback, key);
    const auto& value = object_.at(key);
    if (!value.is_boolean()) fail(key, "true or false", value);
    return value.get<bool>();
  }

  std::string string(const char* key, std::optional<std::string> fallback = {}) const {
    if (!has(key)) return required(fallback, key);
    const auto& value = object_.at(key);
    if (!value.is_string()) fail(key, "a string", value);
    return value.get<std::string>();
  }

  /// An object's fields, which must be there.
  ConfigReader object(const char* key) const {
    if (!has(key)) required(std::optional<int>(), key);
    return {object_.at(key), where_ + ": " + key};
  }

 private:
  template <class T>
  T required(const std::optional<T>& fallback, const char* key) const {
    if (!fallback) throw Error(ErrorKind::invalid_file, std::string("the field \"") + key + "\" is missing", where_);
    return *fallback;
  }
  [[noreturn]] void fail(const char* key, const std::string& expected, const nlohmann::json& found) const {
    throw Error(ErrorKind::invalid_file,
                std::string("\"") + key + "\": expected " + expected + ", found " + found.dump().substr(0, 60), where_);
  }

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace moebox

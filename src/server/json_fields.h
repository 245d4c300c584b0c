// Reads values of a JSON document with a type and a range, or throws ApiException (400) that names the field.
#pragma once

#include <limits>
#include <string>

#include "base/range.h"
#include "server/api_error.h"
#include "server/strict_json.h"

namespace moebox {

/// "a string", "an object" ...: how an error calls what it found.
inline std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "the number " + value.dump();
    default:
      return "a number that has a fraction, an exponent or too many digits";
  }
}

[[noreturn]] inline void refuse_type(const Json& found, const std::string& field, const std::string& expected) {
  throw ApiException(
      bad_request("'" + field + "' must be " + expected + ", not " + describe(found) + ".", field, "invalid_type"));
}

[[noreturn]] inline void refuse_value(const std::string& field, const std::string& why) {
  throw ApiException(bad_request("'" + field + "' " + why, field, "invalid_value"));
}

inline const std::string& read_string(const Json& value, const std::string& field) {
  if (!value.is_string()) refuse_type(value, field, "a string");
  return value.get_ref<const std::string&>();
}

inline bool read_flag(const Json& value, const std::string& field) {
  if (!value.is_boolean()) refuse_type(value, field, "a boolean");
  return value.get<bool>();
}

inline double read_real(const Json& value, const std::string& field, double least, double most) {
  if (!value.is_number()) refuse_type(value, field, "a number");
  const double number = value.get<double>();
  if (!(number >= least && number <= most)) {
    refuse_value(field, "must be between " + Json(least).dump() + " and " + Json(most).dump() + ".");
  }
  return number;
}

inline double read_real(const Json& value, const std::string& field, const Range& range) {
  if (!value.is_number()) refuse_type(value, field, "a number");
  const double number = value.get<double>();
  if (!range.contains(number)) refuse_value(field, "must be a number " + range.text() + ".");
  return number;
}

inline std::int64_t read_integer(const Json& value, const std::string& field, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) refuse_type(value, field, "an integer");
  const bool too_large =
      value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::int64_t number = too_large ? std::numeric_limits<std::int64_t>::max() : value.get<std::int64_t>();
  if (too_large || number < least || number > most) {
    refuse_value(field, "must be between " + std::to_string(least) + " and " + std::to_string(most) + ".");
  }
  return number;
}

inline const Json& read_object(const Json& value, const std::string& field) {
  if (!value.is_object()) refuse_type(value, field, "an object");
  return value;
}

inline const Json& read_array(const Json& value, const std::string& field) {
  if (!value.is_array()) refuse_type(value, field, "an array");
  return value;
}

}  // namespace moebox

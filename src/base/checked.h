// Overflow-checked arithmetic for sizes that come from outside.
#pragma once

#include <concepts>
#include <limits>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace moebox {

template <std::integral T>
T checked_add(T a, T b, std::string_view where = {}) {
  T r;
  if (__builtin_add_overflow(a, b, &r))
    throw Error(ErrorKind::invalid_file, "a sum of sizes overflows", std::string(where));
  return r;
}

template <std::integral T>
T checked_mul(T a, T b, std::string_view where = {}) {
  T r;
  if (__builtin_mul_overflow(a, b, &r))
    throw Error(ErrorKind::invalid_file, "a product of sizes overflows", std::string(where));
  return r;
}

/// Rounds `value` up to a multiple of `alignment` (> 0).
template <std::unsigned_integral T>
T checked_align(T value, T alignment, std::string_view where = {}) {
  const T rest = value % alignment;
  return rest == 0 ? value : checked_add(value, static_cast<T>(alignment - rest), where);
}

/// Converts between integer types; throws when the value does not fit.
template <std::integral To, std::integral From>
To checked_cast(From value, std::string_view where = {}) {
  if (!std::in_range<To>(value)) throw Error(ErrorKind::invalid_file, "a number is out of range", std::string(where));
  return static_cast<To>(value);
}

}  // namespace moebox

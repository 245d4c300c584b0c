// Which numbers are allowed: one value that is checked by, and put into words for, everyone who takes it from outside.
#pragma once

#include <charconv>
#include <string>

namespace moebox {

/// From `least` to `most`; each end belongs to it unless it is open.
struct Range {
  double least = 0;
  double most = 0;
  bool open_least = false, open_most = false;

  /// False for a NaN.
  constexpr bool contains(double value) const noexcept {
    return (open_least ? value > least : value >= least) && (open_most ? value < most : value <= most);
  }

  /// "from 0 to 1", "above 0 and at most 1", "from 0 to below 1", "above 0 and below 1".
  std::string text() const {
    const std::string end = number(most);
    if (open_least) return "above " + number(least) + (open_most ? " and below " : " and at most ") + end;
    return "from " + number(least) + (open_most ? " to below " : " to ") + end;
  }

 private:
  static std::string number(double value) {
    char text[400];  // the longest double without an exponent has 309 digits before its point
    const auto [end, error] = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
    return error == std::errc() ? std::string(text, end) : std::to_string(value);
  }
};

}  // namespace moebox

#include "base/json_problem.h"

namespace moebox {
namespace {

/// What stands between `before` and `after`; empty where they do not occur.
std::string_view between(std::string_view text, std::string_view before, std::string_view after) {
  const auto begin = text.find(before);
  if (begin == std::string_view::npos) return {};
  const std::string_view rest = text.substr(begin + before.size());
  const auto end = rest.find(after);
  return end == std::string_view::npos ? std::string_view() : rest.substr(0, end);
}

std::string reason(std::string_view text) {
  const auto says = [&](std::string_view words) { return text.find(words) != std::string_view::npos; };
  if (says("ill-formed UTF-8")) return "it is not UTF-8";
  if (says("out_of_range.406")) return "a number is out of range";
  if (says("unexpected end of input")) return "it ends too early";
  if (says("surrogate")) return "half of a surrogate pair";
  constexpr std::string_view before = " - ";
  const auto dash = text.find(before);
  if (dash == std::string_view::npos) return std::string(text);
  std::string words(text.substr(dash + before.size()));
  for (auto at = words.find("; "); at != std::string::npos; at = words.find("; ", at)) words.replace(at, 1, ",");
  return words;
}

}  // namespace

std::string json_problem(std::string_view exception_text) {
  const std::string_view place = between(exception_text, "parse error at ", ": ");
  return reason(exception_text) + (place.empty() ? "" : " (" + std::string(place) + ")");
}

}  // namespace moebox

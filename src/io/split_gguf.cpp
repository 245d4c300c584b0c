#include "io/split_gguf.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/core.h>

namespace moebox {
namespace {

std::optional<std::size_t> five_digits(std::string_view text) {
  const bool all_digits = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text.size() != 5 || !all_digits) return std::nullopt;
  std::size_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::optional<SplitName> parse_split_name(const std::filesystem::path& path) {
  constexpr std::size_t suffix_bytes = std::string_view("-00001-of-00003.gguf").size();
  const std::string name = path.filename().string();
  if (name.size() <= suffix_bytes) return std::nullopt;
  const std::string_view suffix = std::string_view(name).substr(name.size() - suffix_bytes);
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || suffix.substr(15) != ".gguf") return std::nullopt;
  const auto part = five_digits(suffix.substr(1, 5));
  const auto n_parts = five_digits(suffix.substr(10, 5));
  if (!part || !n_parts || *part < 1 || *part > *n_parts) return std::nullopt;
  return SplitName{name.substr(0, name.size() - suffix_bytes), *part, *n_parts};
}

std::filesystem::path split_path(const std::filesystem::path& path, const SplitName& name, std::size_t part) {
  return path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, part, name.n_parts);
}

}  // namespace moebox

// The values of a GGUF file's metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moebox {

/// GGUF's value types, integers widened: unsigned ones to uint64_t, signed ones to int64_t. Arrays are of one type; an
/// array of strings of a tokenizer is long, so it is kept as views into the file. Strings are bytes: a file may hold
/// what is not UTF-8.
using MetadataValue = std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>,
                                   std::vector<std::int64_t>, std::vector<double>, std::vector<std::string_view>>;

using Metadata = std::map<std::string, MetadataValue, std::less<>>;

/// "an integer", "an array of strings" and so on, for error messages.
std::string_view type_text(const MetadataValue& value) noexcept;

}  // namespace moebox

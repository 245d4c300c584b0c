#include "io/metadata.h"

#include <array>

namespace moebox {

std::string_view type_text(const MetadataValue& value) noexcept {
  static constexpr std::array<std::string_view, std::variant_size_v<MetadataValue>> names{
      "a boolean",          "an integer",           "an unsigned integer",  "a number",
      "a string",           "an array of booleans", "an array of integers", "an array of numbers",
      "an array of strings"};
  return names[value.index()];
}

}  // namespace moebox

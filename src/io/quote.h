// Names and texts from files, made fit for error messages.
#pragma once

#include <string>
#include <string_view>

namespace moebox {

/// `text` in single quotes: control characters and bytes that are not UTF-8 become \xNN, and what is long is cut.
std::string quote(std::string_view text);

/// Whether all of `text` is well-formed UTF-8.
bool is_utf8(std::string_view text) noexcept;

}  // namespace moebox

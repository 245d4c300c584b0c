// One HTML page for a person to keep: no script, no other file, nothing from outside; light and dark; labels in English
// and Chinese. What is on it is the caller's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moebox::report {

/// Text of any origin between tags, or in an attribute's quotes. Control characters but line feeds are left out.
std::string escaped(std::string_view text);
/// A label in both languages. Both are markup already.
std::string both(std::string_view english, std::string_view chinese);
/// 1,234,567
std::string count_text(std::int64_t value);
/// "1.2 MB": decimal units.
std::string size_text(std::int64_t bytes);

/// A heading with what stands below it; nothing where there is nothing. `content` is markup.
std::string section(std::string_view english, std::string_view chinese, const std::string& content);
/// The whole page. `title` is escaped here, `body` is markup.
std::string page(std::string_view title, const std::string& body);

}  // namespace moebox::report

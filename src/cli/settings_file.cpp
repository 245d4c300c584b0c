// config.toml -> keys and values. toml++ stays in this file.
#include <fmt/core.h>
#include <toml++/toml.h>

#include "base/error.h"
#include "cli/settings.h"

namespace moebox::cli {
namespace {

[[noreturn]] void fail(const std::string& name, const toml::node& node, const std::string& message) {
  throw Error(ErrorKind::invalid_argument, message, fmt::format("{}:{}", name, node.source().begin.line));
}

std::string number_text(double value) { return fmt::format("{}", value); }

std::string value_text(const toml::node& node, const std::string& key, const std::string& name) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* number = node.as_floating_point()) return number_text(number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  if (const auto* array = node.as_array()) {
    std::string joined;
    for (const toml::node& item : *array) {
      const auto* text = item.as_string();
      if (text == nullptr) fail(name, node, fmt::format("'{}': expected an array of strings", key));
      if (!joined.empty()) joined += ',';
      joined += text->get();
    }
    return joined;
  }
  fail(name, node, fmt::format("'{}': expected a string, a number, true or false, or an array of strings", key));
}

}  // namespace

std::vector<FileSetting> parse_settings_file(const std::string& text, const std::string& name) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::invalid_argument, fmt::format("is not valid TOML: {}", error.description()),
                fmt::format("{}:{}", name, error.source().begin.line));
  }
  std::vector<FileSetting> settings;
  const auto add = [&](const std::string& key, const toml::node& node) {
    settings.push_back({key, value_text(node, key, name), static_cast<int>(node.source().begin.line)});
  };
  for (const auto& [key, node] : table) {
    const std::string outer(key.str());
    const auto* inner_table = node.as_table();
    if (inner_table == nullptr) {
      add(outer, node);
      continue;
    }
    for (const auto& [inner, value] : *inner_table) add(outer + "." + std::string(inner.str()), value);
  }
  return settings;
}

}  // namespace moebox::cli

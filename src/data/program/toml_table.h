// One table of a TOML file, read key by key: every key that was not asked for is an error in the end.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "base/toml.h"
#include "cli/nearest.h"

namespace moebox::data {

class TomlTable {
 public:
  /// `name` is the table's in errors ("source"), empty for the file's own. Both must outlive this.
  TomlTable(const toml::table& table, std::string file, std::string name)
      : table_(table), file_(std::move(file)), name_(std::move(name)) {}

  std::string text(const char* key, std::string fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    if (!node->is_string()) refuse(key, "a text");
    return node->as_string()->get();
  }
  bool flag(const char* key, bool fallback) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    if (!node->is_boolean()) refuse(key, "true or false");
    return node->as_boolean()->get();
  }
  std::int64_t integer(const char* key, std::int64_t fallback, std::int64_t least, std::int64_t most) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    const auto* value = node->as_integer();
    if (value == nullptr || value->get() < least || value->get() > most)
      refuse(key, fmt::format("a whole number from {} to {}", least, most));
    return value->get();
  }
  std::optional<double> number(const char* key, double least, double most) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    const auto value = node->value<double>();
    if (!node->is_number() || !value || !(*value >= least && *value <= most))
      refuse(key, fmt::format("a number from {} to {}", least, most));
    return value;
  }
  /// One of `choices`, by its place.
  std::size_t choice(const char* key, std::size_t fallback, const std::vector<std::string_view>& choices) {
    const toml::node* node = find(key);
    if (node == nullptr) return fallback;
    std::string all;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (node->is_string() && node->as_string()->get() == choices[i]) return i;
      all += (i == 0 ? "" : ", ") + std::string(choices[i]);
    }
    refuse(key, "one of " + all);
  }
  /// A text, or an array of texts.
  std::vector<std::string> texts(const char* key) {
    const toml::node* node = find(key);
    std::vector<std::string> list;
    if (node == nullptr) return list;
    if (const auto* one = node->as_string()) return {one->get()};
    if (!node->is_array()) refuse(key, "a text, or an array of texts");
    for (const toml::node& item : *node->as_array()) {
      if (!item.is_string()) refuse(key, "a text, or an array of texts");
      list.push_back(item.as_string()->get());
    }
    return list;
  }
  /// A table of this name, or nullptr.
  const toml::table* table(const char* key) {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_table()) refuse(key, fmt::format("a table, [{}]", key));
    return node == nullptr ? nullptr : node->as_table();
  }
  /// Tables of this name, each written as [[key]].
  std::vector<const toml::table*> tables(const char* key) {
    const toml::node* node = find(key);
    std::vector<const toml::table*> list;
    if (node == nullptr) return list;
    if (!node->is_array()) refuse(key, fmt::format("tables, [[{}]]", key));
    for (const toml::node& item : *node->as_array()) {
      if (!item.is_table()) refuse(key, fmt::format("tables, [[{}]]", key));
      list.push_back(item.as_table());
    }
    return list;
  }

  /// Throws for a key that nobody asked for.
  void finish() const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::find(asked_.begin(), asked_.end(), name) != asked_.end()) continue;
      const auto near = cli::nearest(name, asked_);
      std::string known;
      for (const std::string& one : asked_) known += (known.empty() ? "" : ", ") + one;
      throw Error(ErrorKind::invalid_argument, fmt::format("there is no key '{}'", name), place(node),
                  near ? fmt::format("did you mean '{}'?", *near) : "the keys are " + known);
    }
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    const toml::node* node = table_.get(key);
    throw Error(ErrorKind::invalid_argument, fmt::format("expected {} as '{}'", expected, key),
                node == nullptr ? (name_.empty() ? file_ : file_ + ": [" + name_ + "]") : place(*node));
  }

 private:
  const toml::node* find(const char* key) {
    asked_.emplace_back(key);
    return table_.get(key);
  }
  std::string place(const toml::node& node) const {
    return fmt::format("{}:{}{}", file_, node.source().begin.line, name_.empty() ? "" : ": [" + name_ + "]");
  }

  const toml::table& table_;
  std::string file_, name_;
  std::vector<std::string> asked_;
};

}  // namespace moebox::data

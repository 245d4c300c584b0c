#include "cli/settings.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/console.h"
#include "cli/nearest.h"

extern char** environ;

namespace moebox::cli {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string home_folder() {
  const std::string home = environment("HOME");
  return home.empty() ? "." : home;
}

std::string xdg_folder(const char* variable, const char* below_home) {
  const std::string set = environment(variable);
  // The XDG specification: a relative path is to be ignored.
  return (!set.empty() && set.front() == '/' ? set : home_folder() + "/" + below_home) + "/moebox";
}

std::string trimmed(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A number and the letters after it.
struct Quantity {
  double value;
  std::string unit;
};

std::optional<Quantity> parse_quantity(std::string_view text) {
  const std::string clean = trimmed(text);
  std::size_t digits = 0;
  while (digits < clean.size() && (std::isdigit(static_cast<unsigned char>(clean[digits])) || clean[digits] == '.'))
    ++digits;
  const auto value = parse_number<double>(std::string_view(clean).substr(0, digits));
  if (!value) return std::nullopt;
  std::string unit = trimmed(std::string_view(clean).substr(digits));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return Quantity{*value, unit};
}

std::optional<double> parse_duration_ms(std::string_view text) {
  if (text == "never" || text == "-1") return -1.0;
  const auto quantity = parse_quantity(text);
  if (!quantity) return std::nullopt;
  if (quantity->unit == "ms") return quantity->value;
  if (quantity->unit.empty() || quantity->unit == "s") return quantity->value * 1e3;
  if (quantity->unit == "m" || quantity->unit == "min") return quantity->value * 60e3;
  if (quantity->unit == "h") return quantity->value * 3600e3;
  return std::nullopt;
}

std::optional<double> parse_size(std::string_view text) {
  const auto quantity = parse_quantity(text);
  if (!quantity) return std::nullopt;
  static constexpr std::pair<std::string_view, double> units[] = {{"", 1},
                                                                  {"b", 1},
                                                                  {"k", 1e3},
                                                                  {"kb", 1e3},
                                                                  {"m", 1e6},
                                                                  {"mb", 1e6},
                                                                  {"g", 1e9},
                                                                  {"gb", 1e9},
                                                                  {"t", 1e12},
                                                                  {"tb", 1e12},
                                                                  {"kib", 1024.0},
                                                                  {"mib", 1048576.0},
                                                                  {"gib", 1073741824.0},
                                                                  {"tib", 1099511627776.0}};
  for (const auto& [name, factor] : units) {
    if (quantity->unit == name) return std::floor(quantity->value * factor);
  }
  return std::nullopt;
}

bool is_free(const Setting& setting) { return setting.range.least == 0 && setting.range.most == 0; }

std::string range_text(const Setting& setting) {
  if (is_free(setting)) return "";
  const auto most = setting.range.most;
  if (setting.type == SettingType::duration) return fmt::format(", at most {}h", most / 3600e3);
  if (setting.type == SettingType::size)
    return fmt::format(", from {} to {}", bytes_text(static_cast<std::uint64_t>(setting.range.least)),
                       bytes_text(static_cast<std::uint64_t>(most)));
  return " " + setting.range.text();
}

std::string expectation(const Setting& setting) {
  switch (setting.type) {
    case SettingType::integer:
      return "an integer" + range_text(setting);
    case SettingType::number:
      return "a number" + range_text(setting);
    case SettingType::boolean:
      return "true or false";
    case SettingType::choice:
      return "one of " + std::string(setting.choices);
    case SettingType::duration:
      return (setting.range.least < 0 ? "a time such as 90s, 5m or never" : "a time such as 90s or 5m") +
             range_text(setting);
    case SettingType::size:
      return "a size such as 512MB or 2GiB" + range_text(setting);
    default:
      if (setting.type == SettingType::text_list) return "an array of texts";
      return setting.key == "seed" ? "an integer from 0 to 18446744073709551615, or random" : "a text";
  }
}

bool is_choice(std::string_view choices, std::string_view value) {
  while (!choices.empty()) {
    const auto bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  return false;
}

bool within(const Setting& setting, double value) { return is_free(setting) || setting.range.contains(value); }

/// The value as it is kept, or nothing when it is not one.
std::optional<std::string> normalised(const Setting& setting, std::string_view raw) {
  const std::string value = setting.type == SettingType::text ? std::string(raw) : trimmed(raw);
  switch (setting.type) {
    case SettingType::integer: {
      const auto number = parse_number<std::int64_t>(value);
      if (!number || !within(setting, static_cast<double>(*number))) return std::nullopt;
      return value;
    }
    case SettingType::number: {
      const auto number = parse_number<double>(value);
      if (!number || !std::isfinite(*number) || !within(setting, *number)) return std::nullopt;
      return value;
    }
    case SettingType::boolean:
      if (value == "true" || value == "1" || value == "yes" || value == "on") return "true";
      if (value == "false" || value == "0" || value == "no" || value == "off") return "false";
      return std::nullopt;
    case SettingType::choice:
      if (!is_choice(setting.choices, value)) return std::nullopt;
      return value;
    case SettingType::duration: {
      const auto ms = parse_duration_ms(value);
      if (!ms || !within(setting, *ms)) return std::nullopt;
      return value;
    }
    case SettingType::size: {
      const auto bytes = parse_size(value);
      if (!bytes || !within(setting, *bytes)) return std::nullopt;
      return value;
    }
    case SettingType::path:
      return value.rfind("~/", 0) == 0 ? home_folder() + value.substr(1) : value;
    case SettingType::text_list:
      return value;
    case SettingType::text:
      if (setting.key == "seed" && value != "random" && !parse_number<std::uint64_t>(value)) return std::nullopt;
      return value;
  }
  return std::nullopt;
}

[[noreturn]] void unknown_key(const std::string& key, const std::string& place) {
  std::vector<std::string> keys;
  for (const Setting& setting : setting_table()) keys.emplace_back(setting.key);
  const auto near = nearest(key, keys);
  throw Error(ErrorKind::invalid_argument, fmt::format("there is no setting '{}'", key), place,
              near ? fmt::format("did you mean '{}'?", *near) : "'moebox config' lists all settings");
}

const char* name(FileSetting::Form form) {
  switch (form) {
    case FileSetting::Form::plain:
      return "a plain value";
    case FileSetting::Form::texts:
    case FileSetting::Form::array:
      return "an array";
    case FileSetting::Form::date:
      return "a date or time";
    case FileSetting::Form::table:
      return "a table";
  }
  return "";
}

bool is_section(const std::string& key) {
  return std::any_of(setting_table().begin(), setting_table().end(),
                     [&](const Setting& setting) { return setting.key.starts_with(key + "."); });
}

/// Whether the file that nobody named is there. One that cannot be looked at is: settings are not passed over in
/// silence.
bool is_there(const std::string& file) {
  std::error_code ignored;
  const fs::file_type type = fs::status(file, ignored).type();
  if (type == fs::file_type::fifo)
    throw Error(ErrorKind::io, "expected a file, found a pipe: reading it could take forever", file);
  return type != fs::file_type::not_found;
}

}  // namespace

std::string default_settings_file() { return xdg_folder("XDG_CONFIG_HOME", ".config") + "/config.toml"; }

std::string state_folder() { return xdg_folder("XDG_STATE_HOME", ".local/state"); }

Settings::Settings() {
  for (const Setting& setting : setting_table()) {
    std::string fallback(setting.fallback);
    if (setting.key == "store") fallback = xdg_folder("XDG_CACHE_HOME", ".cache") + "/models";
    if (setting.key == "history") fallback = state_folder() + "/history";
    values_.emplace(setting.key, Value{std::move(fallback), Origin::fallback, ""});
  }
}

void Settings::load(const std::string& explicit_file) {
  const std::string from_environment = environment("MOEBOX_CONFIG");
  file_ = !explicit_file.empty()      ? explicit_file
          : !from_environment.empty() ? from_environment
                                      : default_settings_file();
  const bool must_exist = !explicit_file.empty() || !from_environment.empty();
  if (must_exist || is_there(file_)) {
    constexpr std::size_t largest_file = std::size_t{1} << 20;
    for (const FileSetting& entry : parse_settings_file(read_all(file_, largest_file), file_)) take(entry);
    file_was_read_ = true;
  }

  std::vector<std::string> known = {"MOEBOX_CONFIG", "MOEBOX_API_KEY", "MOEBOX_KV_STORE_KEY", "MOEBOX_MODEL_DIR"};
  for (const Setting& setting : setting_table()) {
    const std::string name = environment_name(setting);
    known.push_back(name);
    if (!setting.environment.empty()) {
      const std::string variable(setting.environment);
      if (const std::string value = environment(variable.c_str()); !value.empty()) {
        set(setting.key, value, Origin::environment, variable);
      }
    }
    if (const char* value = std::getenv(name.c_str());
        value != nullptr && (*value != '\0' || setting.type == SettingType::text)) {
      set(setting.key, value, Origin::environment, name);
    }
  }
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const std::string name(variable.substr(0, variable.find('=')));
    if (name.rfind("MOEBOX_", 0) == 0 && std::find(known.begin(), known.end(), name) == known.end()) {
      unknown_variables_.push_back(name);
    }
  }
}

void Settings::take(const FileSetting& entry) {
  const std::string place = fmt::format("{}:{}", file_, entry.line);
  const auto refuse = [&](const std::string& expected) {
    throw Error(ErrorKind::invalid_argument, fmt::format("expected {}, found {}", expected, name(entry.form)),
                fmt::format("{}: {}", place, entry.key));
  };
  const Setting* setting = find_setting(entry.key);
  if (setting == nullptr && is_section(entry.key)) {
    if (entry.form == FileSetting::Form::table) return;
    refuse(fmt::format("a table, [{}]", entry.key));
  }
  if (setting == nullptr) unknown_key(entry.key, place);
  const bool fits = entry.form == FileSetting::Form::plain ||
                    (entry.form == FileSetting::Form::texts && setting->type == SettingType::text_list);
  if (!fits) refuse(expectation(*setting));
  set(entry.key, entry.value, Origin::file, place);
}

void Settings::set(std::string_view key, std::string_view value, Origin origin, const std::string& place) {
  const Setting* setting = find_setting(key);
  if (setting == nullptr) unknown_key(std::string(key), place);
  const auto kept = normalised(*setting, value);
  if (!kept) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected {}, found '{}'", expectation(*setting), printable(value)),
                origin == Origin::file || origin == Origin::profile ? fmt::format("{}: {}", place, key) : place);
  }
  Value& present = values_.find(key)->second;
  if (origin >= present.origin) present = {*kept, origin, place};
}

const Settings::Value& Settings::value(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) throw Error(ErrorKind::internal, fmt::format("there is no setting '{}'", key));
  return found->second;
}

std::int64_t Settings::integer(std::string_view key) const {
  return parse_number<std::int64_t>(value(key).text).value();
}
double Settings::number(std::string_view key) const { return parse_number<double>(value(key).text).value(); }

std::chrono::milliseconds Settings::duration(std::string_view key) const {
  return std::chrono::milliseconds(static_cast<std::int64_t>(parse_duration_ms(value(key).text).value()));
}

std::uint64_t Settings::size_bytes(std::string_view key) const {
  return static_cast<std::uint64_t>(parse_size(value(key).text).value());
}

std::vector<std::string> Settings::list(std::string_view key) const {
  std::vector<std::string> items;
  std::string_view rest = value(key).text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (std::string item = trimmed(rest.substr(0, comma)); !item.empty()) items.push_back(std::move(item));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return items;
}

}  // namespace moebox::cli

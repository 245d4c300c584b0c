// Every setting of the program in one table: its key, type, default, environment variable and help. The configuration
// file, the environment, the options of the verbs, `moebox config` and the manual are all made from it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/range.h"

namespace moebox::cli {

enum class SettingType {
  text,
  path,  // "~/" is the home folder
  integer,
  number,
  boolean,    // true or false
  choice,     // one of Setting::choices
  duration,   // "90", "90s", "5m", "2h", "250ms"; "never" where the minimum allows -1
  size,       // "4096", "4 MB", "2 GiB"
  text_list,  // "a,b"; an array of strings in the file
};

/// Where a value comes from; a later one wins over an earlier one.
enum class Origin { fallback, model, profile, file, environment, option };

struct Setting {
  std::string_view key;  // "temperature"; "server.port" is `port` of the table [server]
  SettingType type;
  std::string_view fallback;          // the default, as one would write it
  std::string_view help;              // one line, no full stop
  Range range = {};                   // of numbers, durations (ms) and sizes (bytes); 0 to 0: any
  std::string_view choices = {};      // "auto|always|never"
  std::string_view environment = {};  // a well-known variable besides MOEBOX_...
  bool secret = false;                // `moebox config` does not show it
};

std::span<const Setting> setting_table();
/// The entry of `key` or nullptr.
const Setting* find_setting(std::string_view key);
/// "MOEBOX_SERVER_PORT" for "server.port".
std::string environment_name(const Setting& setting);
/// "--max-tokens" for "max_tokens", "--port" for "server.port".
std::string option_name(const Setting& setting);

/// One value from a configuration file.
struct FileSetting {
  enum class Form {
    plain,  // a string, a number, true or false: `value`
    texts,  // an array of strings: `value`, comma separated
    array,  // another array; it has no value, nor have the next two
    date,
    table,
  };
  std::string key, value = {};
  Form form = Form::plain;
  int line = 0;
};
/// Every part of a dotted key is a table in a table, and toml++ destroys those by recursion: a key of a hundred
/// thousand parts would exhaust the stack. Throws Error(invalid_argument) with file and line.
void refuse_long_keys(const std::string& text, const std::string& name);
/// Parses TOML: keys at the top and one level of tables, and the names of tables without keys. Whether a value fits its
/// key is the caller's business. Throws Error(invalid_argument) with file and line.
std::vector<FileSetting> parse_settings_file(const std::string& text, const std::string& name);

class Settings {
 public:
  struct Value {
    std::string text;  // normalised
    Origin origin = Origin::fallback;
    std::string place;  // "~/.config/moebox/config.toml:3", "MOEBOX_PORT", "--port"
  };

  /// The defaults.
  Settings();

  /// Reads the configuration file (`explicit_file`, else MOEBOX_CONFIG, else the usual place, where it may be missing)
  /// and the environment. Throws Error that names the file and line, or the variable; a key that does not exist names
  /// the nearest one.
  void load(const std::string& explicit_file);
  /// The configuration file that load() read or would have read.
  const std::string& file() const { return file_; }
  bool file_was_read() const { return file_was_read_; }
  /// Variables that begin with MOEBOX_ and mean nothing here.
  const std::vector<std::string>& unknown_variables() const { return unknown_variables_; }

  /// Checks and sets; a value of a weaker origin than the present one is checked and forgotten. Throws
  /// Error(invalid_argument).
  void set(std::string_view key, std::string_view value, Origin origin, const std::string& place);

  /// The present value; a key that is not in the table is a bug: Error(internal).
  const Value& value(std::string_view key) const;
  std::string text(std::string_view key) const { return value(key).text; }
  std::int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  bool flag(std::string_view key) const { return text(key) == "true"; }
  std::chrono::milliseconds duration(std::string_view key) const;
  std::uint64_t size_bytes(std::string_view key) const;
  std::vector<std::string> list(std::string_view key) const;
  /// True when it is not the default.
  bool is_set(std::string_view key) const { return value(key).origin != Origin::fallback; }

 private:
  void take(const FileSetting& entry);

  std::map<std::string, Value, std::less<>> values_;
  std::string file_;
  bool file_was_read_ = false;
  std::vector<std::string> unknown_variables_;
};

/// "~/.config/moebox/config.toml", by XDG_CONFIG_HOME.
std::string default_settings_file();
/// The folder for what should survive but is nobody's data (history), by XDG_STATE_HOME.
std::string state_folder();

}  // namespace moebox::cli

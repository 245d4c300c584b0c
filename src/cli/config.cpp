// moebox config: every setting, what holds, and why.
#include <algorithm>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/nearest.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

const char* origin_name(Origin origin) {
  switch (origin) {
    case Origin::fallback:
      return "default";
    case Origin::model:
      return "model";
    case Origin::profile:
      return "profile";
    case Origin::file:
      return "file";
    case Origin::environment:
      return "environment";
    case Origin::option:
      return "option";
  }
  return "default";
}

std::string shown_value(const Setting& setting, const Settings::Value& value) {
  if (setting.secret && !value.text.empty()) return "(set, not shown)";
  return value.text.empty() ? "\"\"" : value.text;
}

std::vector<const Setting*> chosen(const std::vector<std::string>& keys) {
  std::vector<const Setting*> settings;
  std::vector<std::string> known;
  for (const Setting& setting : setting_table()) {
    known.emplace_back(setting.key);
    if (keys.empty()) settings.push_back(&setting);
  }
  for (const std::string& key : keys) {
    const Setting* setting = find_setting(key);
    const auto near = nearest(key, known);
    if (setting == nullptr) {
      throw Error(ErrorKind::invalid_argument, fmt::format("there is no setting '{}'", key), "",
                  near ? fmt::format("did you mean '{}'?", *near) : "'moebox config' lists all settings");
    }
    settings.push_back(setting);
  }
  return settings;
}

int config(const Context& context, const std::vector<std::string>& keys, bool json) {
  const Settings& settings = context.settings;
  const auto list = chosen(keys);
  if (json) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const Setting* setting : list) {
      const Settings::Value& value = settings.value(setting->key);
      object[std::string(setting->key)] = {{"value", setting->secret && !value.text.empty() ? "***" : value.text},
                                           {"origin", origin_name(value.origin)},
                                           {"place", value.place},
                                           {"environment", environment_name(*setting)},
                                           {"help", setting->help}};
    }
    context.console.out(json_text(object, 2) + "\n");
    return exit_ok;
  }
  int key_width = 0;
  int value_width = 0;
  for (const Setting* setting : list) {
    key_width = std::max(key_width, display_width(setting->key));
    value_width =
        std::max(value_width, std::min(40, display_width(shown_value(*setting, settings.value(setting->key)))));
  }
  std::string out;
  if (keys.empty()) {
    out += context.console.faint(
               fmt::format("# {} ({})", settings.file(), settings.file_was_read() ? "read" : "does not exist")) +
           "\n";
  }
  for (const Setting* setting : list) {
    const Settings::Value& value = settings.value(setting->key);
    const std::string why =
        value.place.empty() ? origin_name(value.origin) : fmt::format("{}: {}", origin_name(value.origin), value.place);
    out += fmt::format("{}  {}  {}\n", pad_right(setting->key, key_width),
                       pad_right(printable(shown_value(*setting, value)), value_width),
                       context.console.faint(printable(why)));
  }
  context.console.out(out);
  if (!keys.empty()) return exit_ok;
  std::vector<std::string> known;
  for (const Setting& setting : setting_table()) known.push_back(environment_name(setting));
  for (const std::string& variable : settings.unknown_variables()) {
    const auto near = nearest(variable, known);
    context.console.note(fmt::format("{} means nothing to moebox{}\n", printable(variable),
                                     near ? fmt::format("; did you mean {}?", *near) : ""));
  }
  return exit_ok;
}

int describe(const Context& context) {
  std::string out =
      "# Every setting with its default. The file is ~/.config/moebox/config.toml (XDG_CONFIG_HOME, MOEBOX_CONFIG).\n";
  bool in_table = false;
  for (const Setting& setting : setting_table()) {
    const bool server = setting.key.starts_with("server.");
    if (server && !in_table) out += "\n[server]\n";
    in_table = server;
    const std::string_view key = server ? setting.key.substr(7) : setting.key;
    const bool bare = setting.type == SettingType::integer || setting.type == SettingType::number ||
                      setting.type == SettingType::boolean;
    const std::string quote = bare ? "" : "\"";
    out += fmt::format("\n# {} ({})\n#{} = {}{}{}\n", setting.help, environment_name(setting), key, quote,
                       setting.fallback, quote);
  }
  context.console.out(out);
  return exit_ok;
}

}  // namespace

void add_config(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "config", "Every setting, its value, and where that comes from",
                            "moebox config\n"
                            "moebox config temperature server.port\n"
                            "moebox config --template > ~/.config/moebox/config.toml\n"
                            "MOEBOX_TEMPERATURE=0.2 moebox config temperature");
  auto keys = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<bool>(false);
  auto skeleton = std::make_shared<bool>(false);
  verb->add_option("KEY", *keys, "only these settings")->type_name("");
  verb->add_flag("--json", *json, "print a JSON object");
  verb->add_flag("--template", *skeleton, "print a configuration file with every setting and its default");
  on_chosen(verb, context,
            [&context, keys, json, skeleton] { return *skeleton ? describe(context) : config(context, *keys, *json); });
}

}  // namespace moebox::cli

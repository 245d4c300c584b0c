#include "cli/command.h"

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::cli {

CLI::App* add_verb(CLI::App& program, const std::string& name, const std::string& description,
                   const std::string& examples) {
  CLI::App* verb = program.add_subcommand(name, description);
  std::string footer = "Examples:\n";
  std::size_t begin = 0;
  while (begin < examples.size()) {
    const std::size_t end = std::min(examples.find('\n', begin), examples.size());
    footer += "  " + examples.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  verb->footer(footer);
  return verb;
}

void on_chosen(CLI::App* verb, Context& context, std::function<int()> run, bool needs_settings) {
  if (needs_settings) {
    // Beside the program's own: people write it behind the verb as well.
    verb->add_option("--config", context.settings_file, "configuration file instead of the usual one")
        ->type_name("FILE");
  }
  verb->final_callback([&context, run = std::move(run), needs_settings] { context.action = {run, needs_settings}; });
}

void add_settings(CLI::App* verb, Context& context, std::initializer_list<std::string_view> keys,
                  const std::string& group) {
  for (const std::string_view key : keys) {
    const Setting* setting = find_setting(key);
    if (setting == nullptr) throw Error(ErrorKind::internal, fmt::format("there is no setting '{}'", key));
    const std::string name = option_name(*setting);
    std::string help(setting->help);
    if (!setting->fallback.empty()) help += fmt::format(" [{}]", setting->fallback);
    CLI::Option* option = nullptr;
    if (setting->type == SettingType::boolean) {
      // What is on unless it is said to be off has an option for that, too.
      const std::string off = setting->fallback == "true" ? ",!--no-" + name.substr(2) : "";
      option = verb->add_flag_function(
          name + off,
          [&context, setting, name](std::int64_t count) {
            context.settings.set(setting->key, count > 0 ? "true" : "false", Origin::option, name);
          },
          help);
    } else {
      option = verb->add_option_function<std::string>(
          name,
          [&context, setting, name](const std::string& value) {
            context.settings.set(setting->key, value, Origin::option, name);
          },
          help);
      option->take_last();  // an option wins over one before it, as in a shell's alias
      switch (setting->type) {
        case SettingType::integer:
          option->type_name("N");
          break;
        case SettingType::number:
          option->type_name("X");
          break;
        case SettingType::choice:
          option->type_name(std::string(setting->choices));
          break;
        case SettingType::duration:
          option->type_name("TIME");
          break;
        case SettingType::size:
          option->type_name("SIZE");
          break;
        case SettingType::path:
          option->type_name("FILE");
          break;
        case SettingType::text_list:
          option->type_name("LIST");
          break;
        default:
          option->type_name(setting->key == "seed" ? "N" : "TEXT");
          break;
      }
    }
    if (!group.empty()) option->group(group);
  }
}

}  // namespace moebox::cli

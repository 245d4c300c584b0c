// What every verb gets: the console, the settings, the messages.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/messages.h"
#include "cli/settings.h"

namespace CLI {
class App;
}

namespace moebox::cli {

/// `needs_settings` is false for verbs that work even when the configuration is broken.
struct Action {
  std::function<int()> run;
  bool needs_settings = true;
};

struct Context {
  Console console;
  Settings settings;
  const Messages* text = &messages(Language::english);
  const CLI::App* program = nullptr;   // the whole command line, for completion
  std::vector<std::string> arguments;  // as they were written, without the program's name
  std::string settings_file;           // --config
  Action action;                       // set by the verb that was chosen
};

}  // namespace moebox::cli

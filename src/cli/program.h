// What every program of the house is: a command line of verbs, settings, and errors that become words and exit codes.
#pragma once

#include <functional>
#include <string>

#include "cli/context.h"

namespace moebox::cli {

struct Program {
  /// As a person calls it. A companion (cli/companion.h) is called by the verb of `moebox` that starts it, and so has
  /// the name "moebox".
  std::string name;
  std::string description;
  std::function<void(CLI::App&, Context&)> add_verbs;
  /// What it says without a verb; empty: the list of its verbs.
  std::function<std::string(const Context&)> overview;
  std::function<std::string()> version_line;
};

/// Parses the command line, reads the settings, runs one verb. Gives the exit code; throws nothing.
int run_program(const Program& program, int argc, char** argv) noexcept;

}  // namespace moebox::cli

// What the verbs of all programs of the house are made of.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "cli/context.h"

namespace moebox::cli {

/// The subcommand of a verb, with the help that all verbs share. `examples` is one a line.
CLI::App* add_verb(CLI::App& program, const std::string& name, const std::string& description,
                   const std::string& examples);
/// Makes `run` the program's action when the verb is chosen, and gives a verb that reads the settings its --config.
void on_chosen(CLI::App* verb, Context& context, std::function<int()> run, bool needs_settings = true);
/// One option for each key, described by the table of settings.
void add_settings(CLI::App* verb, Context& context, std::initializer_list<std::string_view> keys,
                  const std::string& group = "");

}  // namespace moebox::cli

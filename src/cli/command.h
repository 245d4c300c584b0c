// The verbs: each is one file, and adds its options to the program's command line.
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

/// All verbs, in the order of the overview.
void add_verbs(CLI::App& program, Context& context);

void add_run(CLI::App& program, Context& context);
void add_serve(CLI::App& program, Context& context);
void add_pull(CLI::App& program, Context& context);
void add_list(CLI::App& program, Context& context);
void add_rm(CLI::App& program, Context& context);
void add_show(CLI::App& program, Context& context);
void add_convert(CLI::App& program, Context& context);
void add_pack(CLI::App& program, Context& context);
void add_optimize(CLI::App& program, Context& context);
void add_bench(CLI::App& program, Context& context);
void add_tokenize(CLI::App& program, Context& context);
void add_perplexity(CLI::App& program, Context& context);
void add_logits(CLI::App& program, Context& context);
void add_config(CLI::App& program, Context& context);
void add_completion(CLI::App& program, Context& context);
void add_version(CLI::App& program, Context& context);

}  // namespace moebox::cli

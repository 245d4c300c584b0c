// The verbs of moebox-data: each is one file.
#pragma once

#include "cli/command.h"

namespace moebox::data {

void add_verbs(CLI::App& program, cli::Context& context);

void add_tokenizer(CLI::App& program, cli::Context& context);

/// Below `data`.
void add_build(CLI::App& data, cli::Context& context);
void add_check(CLI::App& data, cli::Context& context);
void add_report(CLI::App& data, cli::Context& context);

}  // namespace moebox::data

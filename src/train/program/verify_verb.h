// moebox verify RUN.
#pragma once

#include "cli/command.h"

namespace moebox::train {

void add_verify(CLI::App& program, cli::Context& context);

}  // namespace moebox::train

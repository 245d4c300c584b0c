// moebox train RECIPE.
#pragma once

#include "cli/command.h"

namespace moebox::train {

void add_train(CLI::App& program, cli::Context& context);

}  // namespace moebox::train

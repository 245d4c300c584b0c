// The verbs of `moebox`: each is one file, and adds its options to the program's command line.
#pragma once

#include "cli/command.h"

namespace moebox::cli {

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
void add_companions(CLI::App& program, Context& context);
void add_report(CLI::App& program, Context& context);
void add_config(CLI::App& program, Context& context);
void add_completion(CLI::App& program, Context& context);
void add_version(CLI::App& program, Context& context);

}  // namespace moebox::cli

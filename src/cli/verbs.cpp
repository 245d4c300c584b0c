#include "cli/verbs.h"

namespace moebox::cli {

void add_verbs(CLI::App& program, Context& context) {
  add_run(program, context);
  add_serve(program, context);
  add_pull(program, context);
  add_list(program, context);
  add_rm(program, context);
  add_show(program, context);
  add_convert(program, context);
  add_pack(program, context);
  add_bench(program, context);
  add_optimize(program, context);
  add_tokenize(program, context);
  add_perplexity(program, context);
  add_logits(program, context);
  add_companions(program, context);
  add_report(program, context);
  add_config(program, context);
  add_completion(program, context);
  add_version(program, context);
}

}  // namespace moebox::cli

#include "data/program/verbs.h"

namespace moebox::data {

void add_verbs(CLI::App& program, cli::Context& context) {
  CLI::App* data = cli::add_verb(program, "data", "Shards of tokens for training",
                                 "moebox data build recipe.toml\n"
                                 "moebox data build --tokenizer smollm2-135m-instruct --out shards/ book.txt\n"
                                 "moebox data check shards/");
  data->require_subcommand(0, 1);
  add_build(*data, context);
  add_check(*data, context);
  add_report(*data, context);
  add_tokenizer(program, context);
}

}  // namespace moebox::data

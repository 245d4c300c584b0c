// The program moebox-data, which `moebox data` and `moebox tokenizer` start (cli/companion.h).
#include "cli/program.h"
#include "cli/version.h"
#include "data/program/verbs.h"

int main(int argc, char** argv) {
  using namespace moebox;
  cli::Program program;
  program.name = "moebox";
  program.description = "Data for training";
  program.add_verbs = data::add_verbs;
  program.version_line = [] { return "moebox-data " + std::string(cli::version_number()); };
  return cli::run_program(program, argc, argv);
}

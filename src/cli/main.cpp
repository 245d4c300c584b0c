// The `moebox` command.
#include "cli/program.h"
#include "cli/verbs.h"
#include "cli/version.h"

int main(int argc, char** argv) {
  using namespace moebox::cli;
  Program program;
  program.name = "moebox";
  program.description = "Run and serve language models on your own hardware";
  program.add_verbs = add_verbs;
  program.overview = [](const Context& context) { return say(context.text->overview, version_number()); };
  program.version_line = version_line;
  return run_program(program, argc, argv);
}

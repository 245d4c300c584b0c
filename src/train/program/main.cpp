// moebox-train, which `moebox train` starts: a recipe becomes a trained model.
#include <csignal>

#include <fmt/core.h>
#include <malloc.h>

#include "cli/program.h"
#include "cli/version.h"
#include "train/program/train_verb.h"
#include "train/program/verify_verb.h"

int main(int argc, char** argv) {
  using namespace moebox::cli;
  // A step's tensors are freed and made again with the same sizes: memory that is given back to the system in between
  // comes again page by page, zeroed.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  // A file that grows beyond the limit for files is an error like a full disk, and not the end of the run.
  std::signal(SIGXFSZ, SIG_IGN);
  Program program;
  program.name = "moebox";
  program.description = "Train mixture-of-experts models, and dense ones, that moebox serves";
  program.add_verbs = [](CLI::App& app, Context& context) {
    moebox::train::add_train(app, context);
    moebox::train::add_verify(app, context);
  };
  program.version_line = [] { return fmt::format("moebox-train {}", version_number()); };
  return run_program(program, argc, argv);
}

#include "train/program/verify_verb.h"

#include <memory>

#include "cli/exit_code.h"
#include "train/loader_batches.h"
#include "train/program/launch.h"
#include "train/verify.h"

namespace moebox::train {

void add_verify(CLI::App& program, cli::Context& context) {
  struct Options {
    std::string run, recipe;
    VerifyOptions what;
    std::shared_ptr<Devices> devices = std::make_shared<Devices>();
  };
  CLI::App* verb = cli::add_verb(program, "verify", "Check that a training run is what its log says (docs/training.md)",
                                 "moebox verify run/\nmoebox verify run/ --step 120\nmoebox verify run/ --all");
  auto options = std::make_shared<Options>();
  verb->add_option("RUN", options->run, "the folder of a run")->required()->type_name("");
  CLI::Option* all = verb->add_flag("--all", options->what.all, "do every step again, from the beginning");
  verb->add_option("--step", options->what.step, "do this step again, from the checkpoint before it [the last one]")
      ->type_name("N")
      ->excludes(all);
  verb->add_option("--recipe", options->recipe, "where the run's recipe lies now [where it lay then]")
      ->type_name("FILE");
  add_devices(verb, options->devices);
  cli::on_chosen(verb, context, [&context, options] {
    if (options->devices->are_several()) return launch_ranks(context, *options->devices);
    const std::shared_ptr<World> world = join_ranks(ParallelRecipe().timeout_seconds);
    options->what.recipe = options->recipe;
    verify_run(options->run, options->what, open_batches, world, [&](const std::string& line) {
      if (world->is_first()) context.console.note(line + "\n");
    });
    if (world->is_first()) context.console.note("all that was checked is as the log says\n");
    return static_cast<int>(cli::exit_ok);
  });
}

}  // namespace moebox::train

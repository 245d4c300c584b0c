#include "train/program/train_verb.h"

#include <chrono>
#include <memory>

#include <fmt/core.h>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "train/loader_batches.h"
#include "train/program/launch.h"
#include "train/progress.h"
#include "train/recipe.h"
#include "train/run.h"

namespace moebox::train {
namespace {

using Clock = std::chrono::steady_clock;

struct TrainOptions {
  std::string recipe;
  bool check = false, resume = false;
  std::shared_ptr<Devices> devices = std::make_shared<Devices>();
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string millions(std::int64_t n) { return fmt::format("{:.2f} M", static_cast<double>(n) * 1e-6); }

std::string plan_text(const RunPlan& plan, const std::filesystem::path& output) {
  const auto tokens = plan.steps * plan.tokens_per_step;
  std::string text =
      fmt::format("{}: {} parameters, {} of them for each token; {}\n", plan.architecture, millions(plan.n_parameters),
                  millions(plan.n_active), plan.from_checkpoint ? "from a checkpoint" : "random weights");
  if (plan.upcycled)
    text +=
        fmt::format("made of a dense model, whose loss was {:.4f} on the first sequences; with experts it is {:.4f}\n",
                    plan.upcycled->first, plan.upcycled->second);
  text += fmt::format("{} steps of {} tokens, {} in all", plan.steps, plan.tokens_per_step, millions(tokens));
  if (plan.data_tokens > 0)
    text += fmt::format(", which is {:.2f} times the data",
                        static_cast<double>(tokens) / static_cast<double>(plan.data_tokens));
  text += fmt::format(
      "\n{}{} threads, products in {}; weights, gradients and moments take {}, a step's numbers come on top\n",
      plan.n_ranks > 1 ? fmt::format("{} processes with {} sequences each or more, each of ", plan.n_ranks,
                                     plan.sequences / (plan.n_ranks / plan.n_tensor_ranks))
                       : "",
      plan.threads, plan.bf16 ? "bfloat16" : "float32", cli::bytes_text(static_cast<std::uint64_t>(plan.memory_bytes)));
  if (plan.n_tensor_ranks > 1)
    text += fmt::format("{} processes compute each layer of the same sequences together\n", plan.n_tensor_ranks);
  if (plan.n_expert_ranks > 1)
    text += fmt::format(
        "each layer's experts are held by {} processes together{}\n", plan.n_expert_ranks,
        plan.place_every > 0 ? fmt::format(", and placed among them by load every {} steps", plan.place_every) : "");
  return text + fmt::format("into {}\n", output.string());
}

/// A line on the terminal that is drawn over, or a line every few steps elsewhere.
class Display {
 public:
  Display(const cli::Console& console, const Recipe& recipe)
      : console_(console), every_(recipe.output.log_every), progress_(recipe.schedule.steps) {}
  ~Display() { finish(); }

  void show(const StepReport& report, double seconds, bool last) {
    progress_.add(report, seconds);
    if (console_.can_redraw_error()) {
      std::string line = progress_.line();
      const auto width = static_cast<std::size_t>(std::max(20, console_.columns() - 1));
      if (line.size() > width) line.resize(width);
      console_.note("\r\x1b[K" + line);
      open_ = true;
      if (report.step % every_ == 0) progress_.next_window();
    } else if (report.step % every_ == 0 || last) {
      console_.note(progress_.line() + "\n");
      progress_.next_window();
    }
  }
  void finish() {
    if (open_) console_.note("\n");
    open_ = false;
  }

 private:
  const cli::Console& console_;
  const std::int64_t every_;
  Progress progress_;
  bool open_ = false;
};

/// As a shell takes it for one word.
std::string quoted(const std::string& word) {
  if (word.find_first_of(" \t\"'$`\\&;|<>()*?[]#~!{}") == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

int train(const cli::Context& context, const TrainOptions& options) {
  if (options.devices->are_several()) return launch_ranks(context, *options.devices);
  const Recipe recipe = read_recipe(options.recipe);
  const std::shared_ptr<World> world = join_ranks(recipe.parallel.timeout_seconds);
  const auto say = [&](const std::string& text) {
    if (world->is_first()) context.console.note(text);
  };
  const RunMode mode = options.resume ? RunMode::resumed : RunMode::fresh;
  if (world->is_first()) check_places(recipe, mode);  // before the data, which may take minutes to check
  TrainingRun run(recipe, open_batches(recipe), mode, world);
  say(plan_text(run.plan(), recipe.output.folder));
  if (options.check) return cli::exit_ok;
  run.begin();
  cli::InterruptGuard interrupts;
  Display display(context.console, recipe);
  const auto tell_notes = [&] {
    for (const std::string& note : run.take_notes()) {
      display.finish();
      say(note + "\n");
    }
  };
  tell_notes();
  bool interrupted = false;
  StepReport report;
  try {
    while (!run.done() && !interrupted) {
      const auto start = Clock::now();
      report = run.step();
      interrupted = run.any_rank(interrupts.take());
      if (world->is_first()) display.show(report, seconds_since(start), run.done() || interrupted);
      tell_notes();
    }
  } catch (const Error& failed) {
    // What was learnt is not lost with the step that failed; what failed is what the caller hears of. Several ranks
    // stop at once, each when it notices: there are checkpoints.
    display.finish();
    tell_notes();
    if (report.step > 0 && world->size() == 1) {
      try {
        say(fmt::format("the model of step {} is in {}\n", report.step, run.save().string()));
      } catch (const Error& problem) {
        say(fmt::format("the model of step {} could not be written: {}\n", report.step, problem.what()));
      }
    }
    throw;
  }
  display.finish();
  if (!run.done()) {
    const bool kept = run.checkpoint();
    tell_notes();
    const std::filesystem::path saved = run.save();
    say(fmt::format("stopped after step {} of {}; the model so far is in {}\n", run.n_done(), recipe.schedule.steps,
                    saved.string()));
    if (kept) say(fmt::format("to go on exactly: moebox train {} --resume\n", quoted(options.recipe)));
    return cli::exit_interrupted;
  }
  std::filesystem::path saved;
  try {
    saved = run.save();
  } catch (const Error&) {
    tell_notes();
    say(fmt::format("all steps are done, and the model could not be written; when it can: moebox train {} --resume\n",
                    quoted(options.recipe)));
    throw;
  }
  tell_notes();
  say(fmt::format("done: {}\n", saved.string()));
  if (run.n_skipped() > 0)
    say(fmt::format("{} steps were skipped: their gradient was no finite number, or too long\n", run.n_skipped()));
  return cli::exit_ok;
}

}  // namespace

void add_train(CLI::App& program, cli::Context& context) {
  CLI::App* verb =
      cli::add_verb(program, "train", "Train a model by a recipe (docs/training.md)",
                    "moebox train recipe.toml\nmoebox train recipe.toml --check\nmoebox train recipe.toml --resume\n"
                    "moebox train recipe.toml --devices 0,1");
  auto options = std::make_shared<TrainOptions>();
  verb->add_option("RECIPE", options->recipe, "a TOML file")->required()->type_name("");
  verb->add_flag("--check", options->check, "say what would be done, and do nothing");
  verb->add_flag("--resume", options->resume, "go on exactly, from the newest sound checkpoint");
  add_devices(verb, options->devices);
  cli::on_chosen(verb, context, [&context, options] { return train(context, *options); });
}

}  // namespace moebox::train

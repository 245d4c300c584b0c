// moebox perplexity: how well a model predicts a text, windowed as llama.cpp's tool does it.
#include <chrono>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/evaluation.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/measured_tokens.h"
#include "cli/model_source.h"
#include "cli/text_score.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

struct PerplexityOptions {
  std::string model, file;
  std::optional<int> window;
  int windows = 0;
  bool json = false;
};

int perplexity(const Context& context, const PerplexityOptions& options) {
  const std::string text = read_all(options.file);
  Hub hub = make_hub(context);
  Evaluation evaluation(context.settings, fetch(context, hub, options.model));
  const Tokenizer& tokenizer = evaluation.tokenizer();
  const ModelInfo& info = evaluation.model().info();
  const int window = measured_tokens("--window", options.window, 512, info.max_context);
  const TextWindows windows(info, tokenizer.encode(text, true), tokenizer.special().bos, window, options.windows,
                            options.file);
  evaluation.reserve(window);
  const auto start = std::chrono::steady_clock::now();
  const TextScore score = windows.score(evaluation, [&](int done, const TextScore& so_far) {
    if (context.console.can_redraw_error())
      context.console.note(fmt::format("\r\033[K{} of {}: {:.4f}", done, windows.n_windows(), so_far.perplexity()));
  });
  if (context.console.can_redraw_error()) context.console.note("\r\033[K");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    const nlohmann::ordered_json object = {{"model", options.model},
                                           {"perplexity", score.perplexity()},
                                           {"standard_error", score.error()},
                                           {"scored_tokens", score.count},
                                           {"window_tokens", window},
                                           {"windows", windows.n_windows()},
                                           {"seconds", seconds}};
    context.console.out(json_text(object) + "\n");
  } else {
    context.console.out(fmt::format("{:.4f} +- {:.4f}\n", score.perplexity(), score.error()));
    context.console.dim(fmt::format("{} windows of {} tokens, {} scored, {:.1f} s\n", windows.n_windows(), window,
                                    score.count, seconds));
  }
  return exit_ok;
}

}  // namespace

void add_perplexity(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "perplexity", "How well a model predicts a text: the second half of every window is scored",
               "moebox perplexity smollm2-135m-instruct book.txt\n"
               "moebox perplexity smollm2-135m-instruct book.txt --window 1024 --windows 20 --json");
  auto options = std::make_shared<PerplexityOptions>();
  verb->add_option("MODEL", options->model, "name, file or folder")->required()->type_name("");
  verb->add_option("FILE", options->file, "the text; - is standard input")->required()->type_name("");
  verb->add_option("--window", options->window, "tokens of a window [512, or the model's context]")
      ->type_name("N")
      ->check(CLI::Range(8, 1 << 20));
  verb->add_option("--windows", options->windows, "only the first N windows; 0: all")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 30));
  verb->add_flag("--json", options->json, "print a JSON object");
  add_settings(verb, context, {"threads", "kv_type", "pack_file", "expert_cache", "isa"});
  on_chosen(verb, context, [&context, options] { return perplexity(context, *options); });
}

}  // namespace moebox::cli

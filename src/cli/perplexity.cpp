// moebox perplexity: how well a model predicts a text, windowed as llama.cpp's tool does it.
#include <chrono>
#include <cmath>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/model_source.h"

namespace moebox::cli {
namespace {

struct PerplexityOptions {
  std::string model, file;
  int window = 512;
  int windows = 0;
  bool json = false;
};

/// The sum of the squares goes into the error of the mean.
struct Score {
  double sum = 0, sum_of_squares = 0;
  long long count = 0;

  void add(double negative_log) {
    sum += negative_log;
    sum_of_squares += negative_log * negative_log;
    ++count;
  }
  double mean() const { return sum / static_cast<double>(count); }
  double perplexity() const { return std::exp(mean()); }
  /// One standard error, by the delta method.
  double error() const {
    const double n = static_cast<double>(count);
    const double variance = std::max(0.0, sum_of_squares / n - mean() * mean());
    return n > 1 ? std::sqrt(variance / (n - 1)) * perplexity() : 0;
  }
};

/// -log p(next | row), from logits in double precision.
double negative_log_likelihood(std::span<const float> logits, TokenId next) {
  double largest = logits[0];
  for (const float value : logits) largest = std::max(largest, static_cast<double>(value));
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - largest);
  return std::log(sum) + largest - static_cast<double>(logits[static_cast<std::size_t>(next)]);
}

int perplexity(const Context& context, const PerplexityOptions& options) {
  const std::string text = read_all(options.file);
  Hub hub = make_hub(context);
  Evaluation evaluation(context.settings, fetch(context, hub, options.model));
  const Tokenizer& tokenizer = evaluation.tokenizer();
  const auto bos = tokenizer.special().bos;
  const std::vector<TokenId> tokens = tokenizer.encode(text, true);
  const auto window = static_cast<std::size_t>(options.window);
  if (options.window > evaluation.model().info().max_context) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at most the model's context of {}, found {}",
                            evaluation.model().info().max_context, options.window),
                "--window");
  }
  std::size_t n_windows = tokens.size() / window;
  if (options.windows > 0) n_windows = std::min(n_windows, static_cast<std::size_t>(options.windows));
  if (n_windows == 0) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at least one window of {} tokens, found {} tokens", window, tokens.size()),
                options.file, "a longer text, or a smaller --window");
  }
  evaluation.reserve(options.window);
  // A window begins as a text begins: with BOS, where the model's tokenizer adds it.
  const bool starts_with_bos = bos && !tokens.empty() && tokens.front() == *bos;
  const std::size_t first_scored = window / 2;
  Score score;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t w = 0; w < n_windows; ++w) {
    std::vector<TokenId> ids(tokens.begin() + static_cast<std::ptrdiff_t>(w * window),
                             tokens.begin() + static_cast<std::ptrdiff_t>((w + 1) * window));
    const std::vector<TokenId> truth = ids;
    if (starts_with_bos) ids.front() = *bos;
    evaluation.run(ids, [&](int first_position, std::span<const float> rows, std::size_t vocab) {
      for (std::size_t row = 0; row * vocab < rows.size(); ++row) {
        const std::size_t position = static_cast<std::size_t>(first_position) + row;
        if (position < first_scored || position + 1 >= window) continue;
        score.add(negative_log_likelihood(rows.subspan(row * vocab, vocab), truth[position + 1]));
      }
    });
    if (context.console.can_redraw_error()) {
      context.console.note(fmt::format("\r\033[K{} of {}: {:.4f}", w + 1, n_windows, score.perplexity()));
    }
  }
  if (context.console.can_redraw_error()) context.console.note("\r\033[K");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    const nlohmann::ordered_json object = {{"model", options.model},
                                           {"perplexity", score.perplexity()},
                                           {"standard_error", score.error()},
                                           {"scored_tokens", score.count},
                                           {"window_tokens", window},
                                           {"windows", n_windows},
                                           {"seconds", seconds}};
    context.console.out(json_text(object) + "\n");
  } else {
    context.console.out(fmt::format("{:.4f} +- {:.4f}\n", score.perplexity(), score.error()));
    context.console.dim(
        fmt::format("{} windows of {} tokens, {} scored, {:.1f} s\n", n_windows, window, score.count, seconds));
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
  verb->add_option("--window", options->window, "tokens of a window")
      ->type_name("N")
      ->check(CLI::Range(8, 1 << 20))
      ->capture_default_str();
  verb->add_option("--windows", options->windows, "only the first N windows; 0: all")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 30));
  verb->add_flag("--json", options->json, "print a JSON object");
  add_settings(verb, context, {"threads", "kv_type", "isa"});
  on_chosen(verb, context, [&context, options] { return perplexity(context, *options); });
}

}  // namespace moebox::cli

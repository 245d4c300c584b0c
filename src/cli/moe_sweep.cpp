#include "cli/moe_sweep.h"

#include <algorithm>
#include <fstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/bench_engine.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/measured_tokens.h"
#include "cli/model_source.h"
#include "cli/token_ids.h"
#include "cli/writable.h"

namespace moebox::cli {
namespace {

/// Tokens of what is measured, in the model's context.
struct SweepLengths {
  SweepLengths(const MoeSweepOptions& options, int context)
      : window(measured_tokens("--window", options.window, 512, context)),
        prefill(measured_tokens("--prefill", options.prefill, 512, context - 1)),
        decode(measured_tokens("--decode", options.decode, 128, context - 1)) {}

  int window, prefill, decode;
};

std::vector<SweepPoint> points_of(const MoeSweepOptions& options, int top_k) {
  std::vector<SweepPoint> points(1);
  const auto add = [&](SweepPoint::Kind kind, const RoutingBudget& budget) {
    budget.validate(top_k);
    points.emplace_back();
    points.back().kind = kind;
    points.back().budget = budget;
  };
  const std::vector<double> shares{0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3};
  for (const double share : options.top_p.empty() ? shares : options.top_p)
    add(SweepPoint::Kind::top_p, {.top_p = static_cast<float>(share)});
  std::vector<int> numbers = options.max_experts;
  if (numbers.empty())
    for (int n = 1; n < top_k; n *= 2) numbers.push_back(n);
  for (const int n : numbers) add(SweepPoint::Kind::max_experts, {.max_experts = n});
  return points;
}

void note_progress(const Context& context, const std::string& text) {
  if (context.console.can_redraw_error()) context.console.note("\r\033[K" + text);
}

/// Perplexity of every point; the points are made here, where the model is known.
std::vector<SweepPoint> score(const Context& context, const MoeSweepOptions& options, const SweepLengths& lengths,
                              const std::filesystem::path& path) {
  const bool has_ids = options.text_file.empty();
  const std::string& file = has_ids ? options.ids_file : options.text_file;
  const std::string text = read_all(file);
  Evaluation evaluation(context.settings, path);
  const ModelInfo& info = evaluation.model().info();
  if (info.moe.n_layers == 0)
    throw Error(ErrorKind::invalid_argument, "the model has no experts that a budget could limit", options.model);
  std::vector<SweepPoint> points = points_of(options, info.moe.top_k);
  std::vector<TokenId> tokens;
  std::optional<TokenId> bos;
  if (has_ids) {
    tokens = parse_token_ids(text, info.vocab_size);
  } else {
    tokens = evaluation.tokenizer().encode(text, true);
    bos = evaluation.tokenizer().special().bos;
  }
  const TextWindows windows(info, std::move(tokens), bos, lengths.window, options.windows, file);
  evaluation.reserve(lengths.window);
  for (SweepPoint& point : points) {
    evaluation.set_budget(point.budget);
    point.score = windows.score(evaluation, [&](int done, const TextScore& so_far) {
      note_progress(context,
                    fmt::format("{}: {} of {}: {:.4f}", point.name(), done, windows.n_windows(), so_far.perplexity()));
    });
    point.usage = evaluation.usage();
  }
  note_progress(context, "");
  return points;
}

/// Speed of every point, in turns: machines drift.
void measure_speed(const Context& context, const MoeSweepOptions& options, const SweepLengths& lengths,
                   const std::filesystem::path& path, std::vector<SweepPoint>& points) {
  LanguageModelOptions settings = model_options(context.settings);
  if (options.threads > 0) settings.engine.n_threads = options.threads;
  settings.engine.max_sequences = 1;
  settings.engine.context_tokens = std::max(lengths.prefill, lengths.decode) + 1;
  const auto model = LanguageModel::load(path, settings);
  Engine& engine = model->engine();
  std::vector<std::vector<double>> prefill(points.size()), decode(points.size());
  measure_prefill(engine, lengths.prefill, 0);  // pages, caches and clocks warm up
  for (int round = 1; round <= options.repeat; ++round) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      note_progress(context, fmt::format("{}: round {} of {}", points[i].name(), round, options.repeat));
      const auto seed = static_cast<unsigned>(round);
      prefill[i].push_back(measure_prefill(engine, lengths.prefill, seed, points[i].budget));
      decode[i].push_back(measure_decode(engine, 1, lengths.decode, 1, seed, points[i].budget));
    }
  }
  note_progress(context, "");
  for (std::size_t i = 0; i < points.size(); ++i) {
    points[i].prefill = median(prefill[i]);
    points[i].decode = median(decode[i]);
  }
}

nlohmann::ordered_json point_json(const SweepPoint& point) {
  const RoutingBudget& budget = point.budget;
  return {{"budget", point.name()},
          {"moe", {{"top_p", budget.top_p}, {"max_experts", budget.max_experts}}},
          {"experts_per_token", point.usage.experts_per_token()},
          {"active_parameters", point.usage.active_parameters()},
          {"dropped_share", point.usage.dropped_share()},
          {"prefill_tokens_per_second", point.prefill},
          {"decode_tokens_per_second", point.decode},
          {"perplexity", point.score.perplexity()},
          {"standard_error", point.score.error()},
          {"scored_tokens", point.score.count}};
}

void print_table(const Console& console, const MoeSweepOptions& options, const SweepLengths& lengths,
                 const std::vector<SweepPoint>& points) {
  std::string out =
      console.bold(fmt::format("{:12}  {:>13}  {:>8}  {:>8}  {:>11}  {:>10}  {:>10}", "budget", "experts/token",
                               "active", "dropped", fmt::format("prefill {}", lengths.prefill),
                               fmt::format("decode {}", lengths.decode), "perplexity")) +
      "\n";
  for (const SweepPoint& point : points)
    out += fmt::format("{:12}  {:>13.2f}  {:>6.1f} %  {:>6.1f} %  {:>11.1f}  {:>10.1f}  {:>10.4f}\n", point.name(),
                       point.usage.experts_per_token(), 100 * point.usage.active_parameters(),
                       100 * point.usage.dropped_share(), point.prefill, point.decode, point.score.perplexity());
  out += console.faint(fmt::format(
             "tokens a second, median of {}; perplexity of {} tokens in windows of {}, one standard error {:.4f}",
             options.repeat, points.front().score.count, lengths.window, points.front().score.error())) +
         "\n";
  console.out(out);
}

}  // namespace

std::string SweepPoint::name() const {
  switch (kind) {
    case Kind::top_p:
      return fmt::format("top_p {:g}", budget.top_p);
    case Kind::max_experts:
      return fmt::format("{} expert{}", budget.max_experts, budget.max_experts == 1 ? "" : "s");
    case Kind::none:
      break;
  }
  return "no budget";
}

int moe_sweep(const Context& context, const MoeSweepOptions& options) {
  if (options.text_file.empty() == options.ids_file.empty())
    throw Error(ErrorKind::invalid_argument, "expected exactly one of --text and --ids-file", "--moe-sweep");
  if (!options.svg_file.empty()) check_writable(options.svg_file);
  Hub hub = make_hub(context);
  const auto path = fetch(context, hub, options.model);
  const ModelInfo info = describe_model(Checkpoint::open(path), model_options(context.settings).model);
  const SweepLengths lengths(options, info.max_context);
  std::vector<SweepPoint> points = score(context, options, lengths, path);
  measure_speed(context, options, lengths, path, points);
  if (!options.svg_file.empty()) {
    std::ofstream file(options.svg_file, std::ios::binary);
    file << sweep_svg(options.model, points);
    if (!file.flush()) throw Error(ErrorKind::io, "cannot be written", options.svg_file);
  }
  if (options.json) {
    nlohmann::ordered_json object = {{"model", options.model},
                                     {"window_tokens", lengths.window},
                                     {"prefill_tokens", lengths.prefill},
                                     {"decode_tokens", lengths.decode},
                                     {"repeat", options.repeat},
                                     {"points", nlohmann::ordered_json::array()}};
    for (const SweepPoint& point : points) object["points"].push_back(point_json(point));
    context.console.out(json_text(object, 2) + "\n");
  } else {
    print_table(context.console, options, lengths, points);
  }
  return exit_ok;
}

}  // namespace moebox::cli

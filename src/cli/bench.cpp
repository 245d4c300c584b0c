// moebox bench: a table of speeds, beside what this machine could do at most.
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/thread_team.h"
#include "cli/bench_engine.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/measured_tokens.h"
#include "cli/model_source.h"
#include "cli/moe_sweep.h"
#include "cli/verbs.h"
#include "kernels/limits.h"

namespace moebox::cli {
namespace {

struct BenchOptions {
  std::vector<std::string> models;
  std::vector<int> threads, streams = {1, 8, 32};
  std::optional<int> prefill, decode, stream_prompt, stream_tokens;
  int after = 1, repeat = 3;
  bool json = false;
  bool sweeps = false;
  MoeSweepOptions sweep;
};

/// Tokens of what is measured, in the context of every model.
struct BenchLengths {
  BenchLengths(const BenchOptions& options, int context)
      : after(measured_tokens("--after", options.after, options.after, context - 2)),
        prefill(measured_tokens("--prefill", options.prefill, 512, context - 1)),
        decode(measured_tokens("--decode", options.decode, 128, context - after)),
        stream_prompt(measured_tokens("--stream-prompt", options.stream_prompt, 16, context - 2)),
        stream_tokens(measured_tokens("--stream-tokens", options.stream_tokens, 48, context - stream_prompt)) {}

  int context_tokens() const { return std::max({prefill + 1, after + decode, stream_prompt + stream_tokens}); }

  int after, prefill, decode;
  int stream_prompt, stream_tokens;  // of every answer when several run together
};

struct BenchRow {
  std::string model;
  int threads = 0;
  std::size_t weight_bytes = 0;
  std::size_t read_bytes_per_token = 0;  // of these, what one generated token reads
  std::int64_t products_per_token = 0;   // multiply-adds of a prompt's token in the linear layers
  double prefill = 0, decode = 0;        // tokens a second, as all that follows
  std::vector<double> streams;
  MachineLimits limits;
  ExpertCacheStats expert_cache;

  /// The share of the memory's speed at which one answer reads the weights.
  double decode_share() const {
    return decode * static_cast<double>(read_bytes_per_token) / limits.read_bytes_per_second;
  }
  /// The linear layers of a prompt, were they all of its work, against the limit of integer products.
  double prefill_share() const {
    return prefill * 2 * static_cast<double>(products_per_token) / limits.int8_operations_per_second;
  }
};

BenchRow measure(const Context& context, const BenchOptions& options, const BenchLengths& lengths,
                 const std::string& name, const std::filesystem::path& path, int threads) {
  int most_streams = 1;
  for (const int n : options.streams) most_streams = std::max(most_streams, n);
  LanguageModelOptions settings = model_options(context.settings);
  settings.engine.n_threads = threads;
  settings.engine.max_sequences = most_streams;
  settings.engine.max_queued = most_streams;
  settings.engine.decode_slowdown = 0;  // answers that run together begin together
  settings.engine.context_tokens = lengths.context_tokens();
  const auto blocks = [](int tokens) { return static_cast<std::size_t>(tokens / kv_block_tokens + 2); };
  settings.engine.kv_bytes =
      describe_model(Checkpoint::open(path), settings.model).kv_block_bytes() *
      std::max(blocks(settings.engine.context_tokens),
               static_cast<std::size_t>(most_streams) * blocks(lengths.stream_prompt + lengths.stream_tokens));
  const auto model = LanguageModel::load(path, settings);
  Engine& engine = model->engine();

  // The limits are measured in turns with the model: machines drift.
  ThreadTeam team(threads);
  const LimitMeter meter(kernel_table());
  MachineLimits limits = meter.measure(team);
  std::vector<double> prefill, decode;
  std::vector<std::vector<double>> streams(options.streams.size());
  measure_prefill(engine, std::min(lengths.prefill, 512), 0);  // pages, caches and clocks warm up
  for (int round = 1; round <= options.repeat; ++round) {
    const auto seed = static_cast<unsigned>(round);
    if (context.console.can_redraw_error()) {
      context.console.note(fmt::format("\r\033[K{}, {} threads, round {} of {}", name, threads, round, options.repeat));
    }
    prefill.push_back(measure_prefill(engine, lengths.prefill, seed));
    decode.push_back(measure_decode(engine, 1, lengths.decode, lengths.after, seed));
    limits = best_of(limits, meter.measure(team));
    for (std::size_t i = 0; i < streams.size(); ++i) {
      streams[i].push_back(
          measure_decode(engine, options.streams[i], lengths.stream_tokens, lengths.stream_prompt, seed));
    }
  }
  if (context.console.can_redraw_error()) context.console.note("\r\033[K");
  BenchRow row{.model = name,
               .threads = threads,
               .weight_bytes = engine.model().weight_bytes,
               .read_bytes_per_token = engine.model().read_bytes_per_token,
               .products_per_token = engine.model().products_per_prompt_token,
               .prefill = median(prefill),
               .decode = median(decode),
               .streams = {},
               .limits = limits,
               .expert_cache = engine.stats().expert_cache};
  for (const auto& values : streams) row.streams.push_back(median(values));
  return row;
}

nlohmann::ordered_json row_json(const BenchOptions& options, const BenchLengths& lengths, const BenchRow& row) {
  nlohmann::ordered_json streams = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < row.streams.size(); ++i) streams[std::to_string(options.streams[i])] = row.streams[i];
  nlohmann::ordered_json object = {{"model", row.model},
                                   {"threads", row.threads},
                                   {"weight_bytes", row.weight_bytes},
                                   {"read_bytes_per_token", row.read_bytes_per_token},
                                   {"prefill_tokens", lengths.prefill},
                                   {"prefill_tokens_per_second", row.prefill},
                                   {"decode_tokens", lengths.decode},
                                   {"decode_after_tokens", lengths.after},
                                   {"decode_tokens_per_second", row.decode},
                                   {"stream_prompt_tokens", lengths.stream_prompt},
                                   {"stream_tokens", lengths.stream_tokens},
                                   {"streams_tokens_per_second", streams},
                                   {"read_bytes_per_second", row.limits.read_bytes_per_second},
                                   {"int8_operations_per_second", row.limits.int8_operations_per_second},
                                   {"float_operations_per_second", row.limits.float_operations_per_second},
                                   {"decode_share_of_read", row.decode_share()},
                                   {"prefill_share_of_int8", row.prefill_share()}};
  const ExpertCacheStats& cache = row.expert_cache;
  if (cache.capacity_bytes > 0)
    object["expert_cache"] = {
        {"bytes", cache.capacity_bytes}, {"slots", cache.slots},         {"hits", cache.hits},
        {"misses", cache.misses},        {"hit_rate", cache.hit_rate()}, {"read_bytes", cache.read_bytes},
        {"waited_ms", cache.waited_ms}};
  return object;
}

void print_table(const Console& console, const BenchOptions& options, const BenchLengths& lengths,
                 const std::vector<BenchRow>& rows) {
  int widest = 5;
  for (const BenchRow& row : rows) widest = std::max(widest, display_width(row.model));
  std::string head = fmt::format("{}  {:>7}  {:>11}  {:>10}", pad_right("model", widest), "threads",
                                 fmt::format("prefill {}", lengths.prefill), fmt::format("decode {}", lengths.decode));
  for (const int n : options.streams) head += fmt::format("  {:>10}", fmt::format("{} stream{}", n, n == 1 ? "" : "s"));
  std::string out = console.bold(head) + "\n";
  for (const BenchRow& row : rows) {
    out += fmt::format("{}  {:>7}  {:>11.1f}  {:>10.1f}", pad_right(printable(row.model), widest), row.threads,
                       row.prefill, row.decode);
    for (const double value : row.streams) out += fmt::format("  {:>10.1f}", value);
    out += "\n";
  }
  for (const BenchRow& row : rows) {
    out += console.faint(fmt::format(
        "{}, {} threads: this machine reads {:.1f} GB/s (one answer: {:.0f} % of it), int8 {:.0f} GOP/s (a prompt: "
        "{:.0f} % of it), f32 {:.0f} GFLOP/s\n",
        printable(row.model), row.threads, row.limits.read_bytes_per_second / 1e9, 100 * row.decode_share(),
        row.limits.int8_operations_per_second / 1e9, 100 * row.prefill_share(),
        row.limits.float_operations_per_second / 1e9));
  }
  for (const BenchRow& row : rows) {
    const ExpertCacheStats& cache = row.expert_cache;
    if (cache.capacity_bytes == 0) continue;
    out += console.faint(fmt::format("{}: expert cache of {}: {:.0f} % were there, {} read, {:.1f} s waited\n",
                                     printable(row.model), bytes_text(cache.capacity_bytes), 100 * cache.hit_rate(),
                                     bytes_text(cache.read_bytes), cache.waited_ms / 1000));
  }
  out +=
      console.faint(fmt::format(
          "tokens a second, median of {}; the single answer follows {} token{}; streams: {} tokens each "
          "after {}, all together",
          options.repeat, lengths.after, lengths.after == 1 ? "" : "s", lengths.stream_tokens, lengths.stream_prompt)) +
      "\n";
  console.out(out);
}

int sweep(const Context& context, const BenchOptions& options) {
  if (options.models.size() != 1 || options.threads.size() > 1)
    throw Error(ErrorKind::invalid_argument, "expected one model and one number of threads", "--moe-sweep");
  MoeSweepOptions sweep = options.sweep;
  sweep.model = options.models.front();
  if (!options.threads.empty()) sweep.threads = options.threads.front();
  sweep.prefill = options.prefill;
  sweep.decode = options.decode;
  sweep.repeat = options.repeat;
  sweep.json = options.json;
  return moe_sweep(context, sweep);
}

int bench(const Context& context, BenchOptions options) {
  if (options.models.empty()) options.models.push_back(context.settings.text("model"));
  std::erase(options.streams, 0);
  if (options.sweeps) return sweep(context, options);
  if (options.threads.empty()) {
    const auto set = static_cast<int>(context.settings.integer("threads"));
    options.threads.push_back(set > 0 ? set : usable_processors());
  }
  Hub hub = make_hub(context);
  std::vector<std::filesystem::path> paths;
  int shortest_context = std::numeric_limits<int>::max();
  for (const std::string& name : options.models) {
    paths.push_back(fetch(context, hub, name));
    const ModelInfo info = describe_model(Checkpoint::open(paths.back()), model_options(context.settings).model);
    shortest_context = std::min(shortest_context, info.max_context);
  }
  const BenchLengths lengths(options, shortest_context);
  std::vector<BenchRow> rows;
  for (std::size_t i = 0; i < paths.size(); ++i)
    for (const int threads : options.threads)
      rows.push_back(measure(context, options, lengths, options.models[i], paths[i], threads));
  if (options.json) {
    nlohmann::ordered_json object = {{"repeat", options.repeat}, {"rows", nlohmann::ordered_json::array()}};
    for (const BenchRow& row : rows) object["rows"].push_back(row_json(options, lengths, row));
    context.console.out(json_text(object, 2) + "\n");
  } else {
    print_table(context.console, options, lengths, rows);
  }
  return exit_ok;
}

void add_sweep(CLI::App* verb, BenchOptions& options) {
  const std::string group = "Budgets on experts";
  MoeSweepOptions& sweep = options.sweep;
  CLI::Option* flag =
      verb->add_flag("--moe-sweep", options.sweeps, "speed and perplexity against the budget on a token's experts");
  const auto add = [&](CLI::Option* option, const char* type) { option->type_name(type)->group(group)->needs(flag); };
  flag->group(group);
  add(verb->add_option("--text", sweep.text_file, "the text to be predicted; - is standard input"), "FILE");
  add(verb->add_option("--ids-file", sweep.ids_file, "the same as token ids, for models without a tokenizer"), "FILE");
  add(verb->add_option("--svg", sweep.svg_file, "plot into this file"), "FILE");
  add(verb->add_option("--sweep-top-p", sweep.top_p, "shares to try [0.9,0.8,0.7,0.6,0.5,0.4,0.3]")
          ->delimiter(',')
          ->allow_extra_args(false),
      "LIST");
  add(verb->add_option("--sweep-experts", sweep.max_experts, "numbers of experts to try [1,2,4 ...]")
          ->delimiter(',')
          ->allow_extra_args(false),
      "LIST");
  add(verb->add_option("--window", sweep.window, "tokens of a window of the text [512]")->check(CLI::Range(8, 1 << 20)),
      "N");
  add(verb->add_option("--windows", sweep.windows, "only the first N windows; 0: all [0]")
          ->check(CLI::Range(0, 1 << 30)),
      "N");
}

}  // namespace

void add_bench(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "bench", "Speed, beside the limits of this machine",
                            "moebox bench smollm2-135m-instruct\n"
                            "moebox bench smollm2-135m-instruct qwen2.5-coder-0.5b-instruct --threads 1,2 --repeat 5\n"
                            "moebox bench ./model.gguf --streams 1,64 --json\n"
                            "moebox bench ./model.gguf --prefill 4096 --decode 64 --after 4000 --streams 0\n"
                            "moebox bench ./moe.gguf --moe-sweep --text book.txt --svg sweep.svg");
  auto options = std::make_shared<BenchOptions>();
  verb->add_option("MODEL", options->models, "names, files or folders")->type_name("");
  const auto list = [verb](const char* name, std::vector<int>& values, int least, const char* what) {
    verb->add_option(name, values, what)
        ->type_name("LIST")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(CLI::Range(least, 1024));
  };
  const auto count = [verb](const char* name, auto& value, int least, int most, const char* what) {
    verb->add_option(name, value, what)->type_name("N")->check(CLI::Range(least, most));
  };
  constexpr int most_tokens = 1 << 20;
  list("--threads", options->threads, 1, "numbers of threads to try: 1,2,4");
  list("--streams", options->streams, 0, "numbers of answers at once; 0: none [1,8,32]");
  count("--prefill", options->prefill, 2, most_tokens, "tokens of the prompt [512]");
  count("--decode", options->decode, 2, most_tokens, "tokens of the single answer [128]");
  count("--after", options->after, 1, most_tokens, "tokens of the prompt before the single answer [1]");
  count("--stream-prompt", options->stream_prompt, 1, most_tokens,
        "tokens of each prompt when several answers run [16]");
  count("--stream-tokens", options->stream_tokens, 2, most_tokens, "tokens of each answer then [48]");
  count("--repeat", options->repeat, 1, 1000, "rounds; the median counts [3]");
  verb->add_flag("--json", options->json, "print a JSON object");
  add_sweep(verb, *options);
  add_settings(verb, context, {"kv_type", "pack_file", "expert_cache", "isa"});
  on_chosen(verb, context, [&context, options] { return bench(context, *options); });
}

}  // namespace moebox::cli

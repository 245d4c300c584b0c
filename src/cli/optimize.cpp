// moebox optimize: what bounds a model here, which settings make it faster, and a profile that keeps the best.
#include <algorithm>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/thread_team.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/json_text.h"
#include "cli/memory_need.h"
#include "cli/model_source.h"
#include "cli/optimize_findings.h"
#include "cli/optimize_trial.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/text_score.h"
#include "cli/verbs.h"
#include "convert/convert.h"

namespace moebox::cli {
namespace {

namespace fs = std::filesystem;

struct OptimizeOptions {
  std::string model, purpose = "chat", text_file;
  std::vector<std::string> types;
  int rounds = 3, windows = 8;
  double max_loss = 0;  // per cent of the perplexity
  bool dry_run = false, forget = false, json = false;
};

/// Settings that were compared, and which was best.
struct Group {
  std::string title;
  Workload work;
  bool changes_answers = false;
  std::vector<Trial> trials = {};  // the first: what holds so far
  std::size_t best = 0;
};

/// A file that is gone when this is.
class TemporaryFile {
 public:
  explicit TemporaryFile(fs::path path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Seconds of all processors since boot: (all, stolen by the host).
std::pair<double, double> processor_seconds() {
  std::ifstream file("/proc/stat");
  std::string line, name;
  std::getline(file, line);
  std::istringstream fields(line);
  fields >> name;
  double all = 0, stolen = 0, value = 0;
  constexpr int stolen_field = 7;
  for (int i = 0; i <= stolen_field && fields >> value; ++i) {
    all += value;
    if (i == stolen_field) stolen = value;
  }
  return {all, stolen};
}

std::uint64_t swapped_bytes() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmSwap:")) return std::strtoull(line.c_str() + 7, nullptr, 10) * 1024;
  }
  return 0;
}

class Optimizer {
 public:
  Optimizer(Context& context, OptimizeOptions options, fs::path path)
      : context_(context),
        options_(std::move(options)),
        path_(std::move(path)),
        checkpoint_(Checkpoint::open(path_)),
        info_(describe_model(checkpoint_, model_options(context_.settings).model)) {
    work_.serving = options_.purpose == "serve";
  }

  int run() {
    if (info_.max_context < 2 * work_.prefill)
      throw Error(
          ErrorKind::unsupported,
          fmt::format("expected a context of {} tokens at least, found {}", 2 * work_.prefill, info_.max_context),
          path_.string());
    const auto before = processor_seconds();
    try_threads();
    try_batch_tokens();
    if (!options_.text_file.empty()) {
      try_cache_types();
      try_budgets();
    }
    try_types();
    const auto after = processor_seconds();
    const double all = after.first - before.first;
    stolen_share_ = all > 0 ? (after.second - before.second) / all : 0;
    report();
    return exit_ok;
  }

 private:
  std::string threads_name(int n) const { return fmt::format("{} thread{}", n, n == 1 ? "" : "s"); }

  void compare(Group group) {
    const Workload& work = group.work;
    measure_in_turns(context_, path_, work, options_.rounds, group.trials);
    group.best = best_trial(group.trials, work);
    if (group.changes_answers) {
      for (Trial& trial : group.trials) score(trial);
      const double allowed = group.trials.front().perplexity * (1 + options_.max_loss / 100);
      if (options_.max_loss <= 0 || group.trials[group.best].perplexity > allowed)
        group.best = best_within(group, work, allowed);
    }
    if (group.trials[group.best].model.empty()) best_ = group.trials[group.best].settings;
    groups_.push_back(std::move(group));
  }

  /// The best one of those that lose little enough.
  std::size_t best_within(const Group& group, const Workload& work, double allowed) const {
    std::vector<Trial> trials{group.trials.front()};
    std::vector<std::size_t> places{0};
    for (std::size_t i = 1; i < group.trials.size(); ++i) {
      if (options_.max_loss <= 0 || group.trials[i].perplexity > allowed) continue;
      trials.push_back(group.trials[i]);
      places.push_back(i);
    }
    return places[best_trial(trials, work)];
  }

  void try_threads() {
    const int all = usable_processors();
    const auto set = static_cast<int>(context_.settings.integer("threads"));
    const int now = set > 0 ? set : all;
    Group group{.title = "threads", .work = work_};
    group.trials.push_back({.name = threads_name(now), .settings = {}});
    std::set<int> others{1, all / 4, all / 2, all - 1, all};
    for (const int n : others) {
      if (n > 0 && n != now)
        group.trials.push_back({.name = threads_name(n), .settings = {{"threads", std::to_string(n)}}});
    }
    compare(std::move(group));
  }

  void try_batch_tokens() {
    Workload work = work_;
    work.prefill = 2048;
    work.counted_answer = 0;
    if (info_.max_context < 2 * work.prefill) return;
    Group group{.title = "tokens of a step, with a prompt of 2,048; only that counts", .work = work};
    const int now = static_cast<int>(context_.settings.integer("server.batch_tokens"));
    const int holds = now > 0 ? now : info_.batch_tokens;
    group.trials.push_back({.name = fmt::format("{} tokens", holds), .settings = best_});
    for (const int n : {256, 512, 1024, 2048}) {
      if (n == holds) continue;
      ProfileSettings settings = best_;
      settings["server.batch_tokens"] = std::to_string(n);
      group.trials.push_back({.name = fmt::format("{} tokens", n), .settings = std::move(settings)});
    }
    compare(std::move(group));
  }

  void try_cache_types() {
    Workload work = work_;
    work.after = std::min(2000, info_.max_context / 2);
    Group group{.title = fmt::format("type of the cache, answers after {} tokens", work.after),
                .work = work,
                .changes_answers = true};
    const std::string now = context_.settings.text("kv_type");
    group.trials.push_back({.name = now, .settings = best_});
    for (const char* type : {"bf16", "q8_0"}) {
      if (type == now) continue;
      ProfileSettings settings = best_;
      settings["kv_type"] = type;
      group.trials.push_back({.name = type, .settings = std::move(settings)});
    }
    compare(std::move(group));
  }

  void try_budgets() {
    if (info_.moe.n_layers == 0) return;
    Group group{.title = "budget on a token's experts", .work = work_, .changes_answers = true};
    group.trials.push_back({.name = "as it is", .settings = best_});
    for (const char* share : {"0.9", "0.8", "0.7"}) {
      ProfileSettings settings = best_;
      settings["moe_top_p"] = share;
      group.trials.push_back({.name = fmt::format("moe_top_p {}", share), .settings = std::move(settings)});
    }
    compare(std::move(group));
  }

  /// The model in other types, in files that are gone afterwards: what to convert it to, if anything.
  void try_types() {
    if (options_.types.empty()) return;
    Group group{.title = "types of the weights", .work = work_, .changes_answers = !options_.text_file.empty()};
    group.trials.push_back({.name = "as it is", .settings = best_});
    std::vector<std::unique_ptr<TemporaryFile>> files;
    InterruptGuard interrupts;
    for (const std::string& type : options_.types) {
      files.push_back(std::make_unique<TemporaryFile>(
          fs::temp_directory_path() / fmt::format("moebox-optimize-{}-{}.gguf", ::getpid(), files.size())));
      ProgressBar bar(context_.console, "converting");
      ConvertOptions convert_options;
      convert_options.type = type;
      convert_options.progress = [&](std::uint64_t done, std::uint64_t total) {
        bar.show(type, done, total);
        return !interrupts.take();
      };
      (void)convert(checkpoint_, files.back()->path(), convert_options);
      group.trials.push_back({.name = type, .settings = best_, .model = files.back()->path()});
    }
    compare(std::move(group));
  }

  void score(Trial& trial) {
    const Settings settings = with(context_.settings, trial.settings);
    Evaluation evaluation(settings, trial.model.empty() ? path_ : trial.model);
    constexpr int window = 512;
    const TextWindows windows(evaluation.model().info(),
                              evaluation.tokenizer().encode(read_all(options_.text_file), true),
                              evaluation.tokenizer().special().bos, window, options_.windows, options_.text_file);
    evaluation.reserve(window);
    if (info_.moe.n_layers > 0) evaluation.set_budget(routing_budget(settings));
    trial.perplexity = windows
                           .score(evaluation,
                                  [&](int done, const TextScore&) {
                                    if (context_.console.can_redraw_error())
                                      context_.console.note(fmt::format("\r\033[K{}: text, {} of {} windows",
                                                                        trial.name, done, windows.n_windows()));
                                  })
                           .perplexity();
    if (context_.console.can_redraw_error()) context_.console.note("\r\033[K");
  }

  Observation observation() const {
    const Group& threads = groups_.front();
    const Trial& best = threads.trials[threads.best];
    Observation seen;
    seen.model = info_;
    seen.speeds = best.median();
    double least = seen.speeds.limits.int8_operations_per_second, most = least;
    for (const Trial& trial : threads.trials) {
      for (const Speeds& round : trial.rounds) {
        seen.speeds.limits = best_of(seen.speeds.limits, round.limits);
        least = std::min(least, round.limits.int8_operations_per_second);
        most = std::max(most, round.limits.int8_operations_per_second);
      }
    }
    seen.int8_drift = most / least;
    seen.stolen_share = stolen_share_;
    const Settings settings = with(context_.settings, best.settings);
    const MemoryNeed need = memory_need(checkpoint_, settings);
    const double table = static_cast<double>(info_.vocab_size) * info_.hidden_size;
    const bool untied =
        checkpoint_.find_tensor("output.weight") != nullptr || checkpoint_.find_tensor("lm_head.weight") != nullptr;
    const auto left_out = static_cast<double>(info_.moe.parameters_per_expert) * info_.moe.n_layers *
                          (info_.moe.n_experts - info_.moe.top_k);
    seen.multiply_adds = static_cast<double>(info_.n_parameters) - left_out - (untied ? 2 : 1) * table;
    seen.file_bytes = checkpoint_.file_bytes();
    seen.packed_file = need.pack.usable && settings.text("pack_file") != "off";
    seen.streams = work_.streams;
    seen.swapped_bytes = swapped_bytes();
    seen.context_tokens = need.context_tokens;
    seen.kv_bytes_token = need.kv_bytes_per_token;
    return seen;
  }

  void report() {
    const std::vector<Finding> found = findings(observation());
    const ProfileSettings profile = best_;
    if (!options_.dry_run && !profile.empty()) write_profile(path_, machine_name(), profile);
    std::error_code ignored;
    const bool old = !options_.dry_run && profile.empty() && fs::remove(profile_file(path_), ignored);
    options_.json ? print_json(found, profile) : print_text(found, profile, old);
  }

  void print_text(const std::vector<Finding>& found, const ProfileSettings& profile, bool old_removed) const {
    const Console& console = context_.console;
    std::string out = console.bold("What bounds it") + "\n";
    for (const Finding& finding : found) out += fmt::format("  {:8} {}\n", finding.topic, finding.text);
    for (const Group& group : groups_) {
      out += "\n" + console.bold(group.title) + "\n";
      out +=
          fmt::format("  {:24} {:>9} {:>9} {:>9} {:>9}{}\n", "", "prompt", "answer",
                      fmt::format("{} at once", work_.streams), "seconds", group.changes_answers ? "  perplexity" : "");
      for (std::size_t i = 0; i < group.trials.size(); ++i) {
        const Trial& trial = group.trials[i];
        const Speeds speeds = trial.median();
        out += fmt::format("{} {:24} {:9.1f} {:9.1f} {:9.1f} {:9.2f}{}\n", i == group.best ? "*" : " ", trial.name,
                           speeds.prefill, speeds.decode, speeds.batch, trial.median_seconds(group.work),
                           trial.perplexity > 0 ? fmt::format("  {:10.4f}", trial.perplexity) : "");
      }
    }
    out += console.faint(
               fmt::format("tokens a second, medians of {}; seconds: a prompt of 512 and an answer of 128{}; * best, "
                           "by 3 % at least\n",
                           options_.rounds, work_.serving ? fmt::format(", {} at once", work_.streams) : "")) +
           "\n";
    if (profile.empty()) {
      out += "The present settings are the best of these: no profile is needed.";
      if (old_removed) out += " The old one is removed.";
      out += "\n";
    } else {
      for (const auto& [key, value] : profile) out += fmt::format("{} = {}\n", key, value);
      out += options_.dry_run
                 ? "Not written (--dry-run).\n"
                 : fmt::format("Written to {}; run and serve use it.\n", printable(profile_file(path_).string()));
    }
    out += advice(profile);
    console.out(out);
  }

  std::string advice(const ProfileSettings& profile) const {
    std::string out;
    for (const auto& [key, value] : profile) {
      const Settings::Value& set = context_.settings.value(key);
      if (set.origin > Origin::profile)
        out += fmt::format("{} is set by {}, which is stronger than a profile.\n", key, printable(set.place));
    }
    if (options_.text_file.empty())
      out += fmt::format("Cache types{} change answers: --text FILE measures what they gain and lose.\n",
                         info_.moe.n_layers > 0 ? " and budgets on experts" : "");
    else if (options_.max_loss <= 0)
      out += "What changes answers was measured, not chosen: --max-loss 1 accepts 1 % of perplexity.\n";
    for (const Group& group : groups_) {
      const Trial& best = group.trials[group.best];
      if (!best.model.empty())
        out += fmt::format("Converted to {0} it is faster: moebox convert {1} OUT.gguf --type {0}\n", best.name,
                           printable(options_.model));
    }
    return out;
  }

  void print_json(const std::vector<Finding>& found, const ProfileSettings& profile) const {
    nlohmann::ordered_json object = {{"model", options_.model}, {"machine", machine_name()}, {"for", options_.purpose}};
    for (const Finding& finding : found) object["findings"][finding.topic] = finding.text;
    object["groups"] = nlohmann::ordered_json::array();
    for (const Group& group : groups_) {
      nlohmann::ordered_json trials = nlohmann::ordered_json::array();
      for (const Trial& trial : group.trials) {
        const Speeds speeds = trial.median();
        nlohmann::ordered_json one = {{"name", trial.name},
                                      {"settings", trial.settings},
                                      {"load_seconds", speeds.load_seconds},
                                      {"prefill_tokens_per_second", speeds.prefill},
                                      {"decode_tokens_per_second", speeds.decode},
                                      {"streams_tokens_per_second", speeds.batch},
                                      {"waiting_share", speeds.waiting_share},
                                      {"seconds", trial.median_seconds(group.work)}};
        if (trial.perplexity > 0) one["perplexity"] = trial.perplexity;
        trials.push_back(std::move(one));
      }
      object["groups"].push_back({{"title", group.title}, {"trials", trials}, {"best", group.trials[group.best].name}});
    }
    object["profile"] = {{"settings", profile},
                         {"file", profile.empty() || options_.dry_run ? "" : profile_file(path_).string()}};
    context_.console.out(json_text(object, 2) + "\n");
  }

  Context& context_;
  const OptimizeOptions options_;
  const fs::path path_;
  const Checkpoint checkpoint_;
  const ModelInfo info_;
  Workload work_;
  ProfileSettings best_;  // so far
  std::vector<Group> groups_;
  double stolen_share_ = 0;
};

int forget(const Context& context, const fs::path& path) {
  const fs::path file = profile_file(path);
  std::error_code problem;
  const bool removed = fs::remove(file, problem);
  if (problem) throw Error(ErrorKind::io, "cannot be removed", file.string(), problem.message());
  context.console.note(removed ? fmt::format("removed {}\n", printable(file.string()))
                               : "there is no profile of this model\n");
  return exit_ok;
}

int optimize(Context& context, OptimizeOptions options) {
  if (options.model.empty()) options.model = context.settings.text("model");
  if (options.max_loss > 0 && options.text_file.empty())
    throw Error(ErrorKind::invalid_argument, "expected a text to measure the loss with, found none", "--max-loss",
                "--text FILE");
  Hub hub = make_hub(context);
  const auto path = fetch(context, hub, options.model);
  if (options.forget) return forget(context, path);
  if (!options.text_file.empty() && options.text_file != "-") (void)read_all(options.text_file);
  apply_catalogue(context.settings, hub, options.model);
  return Optimizer(context, std::move(options), path).run();
}

}  // namespace

void add_optimize(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "optimize", "Find what bounds a model here, and keep the best settings as its profile",
               "moebox optimize qwen2.5-coder-0.5b-instruct\n"
               "moebox optimize ./model.gguf --for serve --rounds 5\n"
               "moebox optimize ./moe.gguf --text book.txt --max-loss 1\n"
               "moebox optimize ./model.gguf --types Q8_0,Q4_0 --dry-run\n"
               "moebox optimize ./model.gguf --forget");
  auto options = std::make_shared<OptimizeOptions>();
  verb->add_option("MODEL", options->model, "name, file or folder")->type_name("");
  verb->add_option("--for", options->purpose, "what counts: one answer, or many at once [chat]")
      ->type_name("chat|serve")
      ->check(CLI::IsMember({"chat", "serve"}));
  verb->add_option("--rounds", options->rounds, "measurements of every setting, in turns [3]")
      ->type_name("N")
      ->check(CLI::Range(1, 100));
  verb->add_option("--text", options->text_file, "text that tells what a setting loses: its perplexity")
      ->type_name("FILE");
  verb->add_option("--windows", options->windows, "windows of 512 tokens of that text; 0: all [8]")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 30));
  verb->add_option("--max-loss", options->max_loss, "per cent by which the perplexity may grow [0]")
      ->type_name("PERCENT")
      ->check(CLI::Range(0.0, 100.0));
  verb->add_option("--types", options->types, "convert to these types, for a while, and measure them, too")
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->add_flag("--dry-run", options->dry_run, "write no profile");
  verb->add_flag("--forget", options->forget, "remove the model's profile, and do nothing else");
  verb->add_flag("--json", options->json, "print a JSON object");
  add_settings(verb, context, {"context", "kv_memory", "pack_file", "expert_cache", "isa"});
  on_chosen(verb, context, [&context, options] { return optimize(context, *options); });
}

}  // namespace moebox::cli

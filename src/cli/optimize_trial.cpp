#include "cli/optimize_trial.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include <fmt/core.h>
#include <sys/resource.h>

#include "cli/bench_engine.h"
#include "cli/model_source.h"

namespace moebox::cli {
namespace {

constexpr double worth_it = 0.97;

double major_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_majflt);
}

double mean_imbalance(const std::vector<ExpertLoad>& layers) {
  double sum = 0, n = 0;
  for (const ExpertLoad& layer : layers) {
    if (layer.n_chosen == 0) continue;
    sum += layer.max_over_mean;
    ++n;
  }
  return n == 0 ? 0 : sum / n;
}

Speeds measure(const Settings& settings, const std::filesystem::path& path, const Workload& work, unsigned seed) {
  using Clock = std::chrono::steady_clock;
  LanguageModelOptions options = model_options(settings);
  options.engine.max_sequences = options.engine.max_queued = work.streams;
  const int stream_prompt = 16;
  if (options.engine.context_tokens == 0)
    options.engine.context_tokens = std::max(work.prefill, work.after + work.decode) + 2;
  const auto blocks = [](int tokens) { return static_cast<std::size_t>(tokens / kv_block_tokens + 2); };
  if (options.engine.kv_bytes == 0)
    options.engine.kv_bytes =
        describe_model(Checkpoint::open(path), options.model).kv_block_bytes() *
        std::max(blocks(options.engine.context_tokens),
                 static_cast<std::size_t>(work.streams) * blocks(stream_prompt + work.stream_tokens));
  Speeds speeds;
  const auto start = Clock::now();
  const auto model = LanguageModel::load(path, options);
  speeds.load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  Engine& engine = model->engine();
  measure_prefill(engine, std::min(work.prefill, 256), 0);  // pages, caches and clocks warm up
  const TeamTimes before = engine.stats().team;
  const double faults = major_faults();
  speeds.prefill = measure_prefill(engine, work.prefill, seed);
  speeds.decode = measure_decode(engine, 1, work.decode, work.after, seed);
  speeds.batch = measure_decode(engine, work.streams, work.stream_tokens, stream_prompt, seed);
  const EngineStats after = engine.stats();
  const double ran = after.team.seconds - before.seconds;
  if (ran > 0) speeds.waiting_share = std::clamp(1 - (after.team.computing - before.computing) / ran, 0.0, 1.0);
  speeds.major_faults = major_faults() - faults;
  speeds.imbalance = mean_imbalance(after.expert_load);
  speeds.read_bytes_per_token = static_cast<double>(engine.model().read_bytes_per_token);
  return speeds;
}

}  // namespace

double Trial::seconds(const Workload& workload, std::size_t round) const {
  const Speeds& speeds = rounds[round];
  constexpr double prompt = 512;
  const double answer = workload.counted_answer;
  return prompt / speeds.prefill + answer / (workload.serving ? speeds.batch / workload.streams : speeds.decode);
}

double Trial::median_seconds(const Workload& workload) const {
  std::vector<double> all;
  for (std::size_t round = 0; round < rounds.size(); ++round) all.push_back(seconds(workload, round));
  return cli::median(all);
}

Speeds Trial::median() const {
  const auto of = [&](const std::function<double(const Speeds&)>& figure) {
    std::vector<double> all;
    for (const Speeds& round : rounds) all.push_back(figure(round));
    return cli::median(all);
  };
  Speeds result;
  result.load_seconds = of([](const Speeds& s) { return s.load_seconds; });
  result.prefill = of([](const Speeds& s) { return s.prefill; });
  result.decode = of([](const Speeds& s) { return s.decode; });
  result.batch = of([](const Speeds& s) { return s.batch; });
  result.waiting_share = of([](const Speeds& s) { return s.waiting_share; });
  result.major_faults = of([](const Speeds& s) { return s.major_faults; });
  result.imbalance = of([](const Speeds& s) { return s.imbalance; });
  result.read_bytes_per_token = of([](const Speeds& s) { return s.read_bytes_per_token; });
  for (const Speeds& round : rounds) result.limits = best_of(result.limits, round.limits);
  return result;
}

Settings with(Settings settings, const ProfileSettings& over) {
  for (const auto& [key, value] : over) settings.set(key, value, Origin::option, "optimize");
  return settings;
}

void measure_in_turns(const Context& context, const std::filesystem::path& model, const Workload& workload,
                      int n_rounds, std::vector<Trial>& trials) {
  ThreadTeam team(0);
  const LimitMeter meter(kernel_table());
  for (int round = 1; round <= n_rounds; ++round) {
    for (Trial& trial : trials) {
      if (context.console.can_redraw_error())
        context.console.note(fmt::format("\r\033[K{}: round {} of {}", trial.name, round, n_rounds));
      const MachineLimits before = meter.measure(team);
      const auto seed = static_cast<unsigned>(trial.rounds.size() + 1);
      Speeds speeds =
          measure(with(context.settings, trial.settings), trial.model.empty() ? model : trial.model, workload, seed);
      speeds.limits = best_of(before, meter.measure(team));
      trial.rounds.push_back(speeds);
    }
  }
  if (context.console.can_redraw_error()) context.console.note("\r\033[K");
}

std::size_t best_trial(const std::vector<Trial>& trials, const Workload& workload) {
  std::size_t best = 0;
  const Trial& first = trials.front();
  for (std::size_t i = 1; i < trials.size(); ++i) {
    const Trial& trial = trials[i];
    if (trial.median_seconds(workload) > worth_it * first.median_seconds(workload)) continue;
    std::size_t wins = 0;
    for (std::size_t round = 0; round < trial.rounds.size(); ++round)
      wins += trial.seconds(workload, round) < first.seconds(workload, round) ? 1 : 0;
    if (2 * wins <= trial.rounds.size()) continue;
    if (best == 0 || trial.median_seconds(workload) < trials[best].median_seconds(workload)) best = i;
  }
  return best;
}

}  // namespace moebox::cli

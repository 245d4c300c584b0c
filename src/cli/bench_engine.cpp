#include "cli/bench_engine.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <random>

#include "base/error.h"

namespace moebox::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// Notes when every token came.
class Stopwatch : public GenerationSink {
 public:
  explicit Stopwatch(int n_tokens) { times_.reserve(static_cast<std::size_t>(n_tokens)); }

  bool on_token(const GeneratedToken&) override {
    times_.push_back(Clock::now());
    return true;
  }
  void on_finish(FinishReason reason, const GenerationStats& stats, const Error* error) override {
    stats_ = stats;
    if (reason == FinishReason::error) {
      done_.set_exception(
          std::make_exception_ptr(error != nullptr ? *error : Error(ErrorKind::internal, "the engine failed")));
    } else {
      done_.set_value();
    }
  }

  /// Waits for the end. Throws what the engine reports.
  void wait() { done_.get_future().get(); }
  const std::vector<Clock::time_point>& times() const { return times_; }
  const GenerationStats& stats() const { return stats_; }

 private:
  std::vector<Clock::time_point> times_;
  GenerationStats stats_;
  std::promise<void> done_;
};

GenerationRequest request(std::vector<TokenId> prompt, int n_tokens, const RoutingBudget& budget) {
  GenerationRequest wanted;
  wanted.prompt = std::move(prompt);
  wanted.sampling.temperature = 0;
  wanted.max_new_tokens = n_tokens;
  wanted.budget = budget;
  wanted.share_prefix = false;  // what is measured is computed
  return wanted;
}

}  // namespace

std::vector<TokenId> arbitrary_tokens(int n_tokens, int vocab_size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(static_cast<std::size_t>(n_tokens));
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<unsigned>(vocab_size));
  return ids;
}

double measure_prefill(Engine& engine, int n_tokens, unsigned seed, const RoutingBudget& budget) {
  const auto watch = std::make_shared<Stopwatch>(1);
  engine.submit(request(arbitrary_tokens(n_tokens, engine.model().vocab_size, seed), 1, budget), watch);
  watch->wait();
  return n_tokens * 1000.0 / watch->stats().prefill_ms;
}

double measure_decode(Engine& engine, int n_streams, int n_tokens, int prompt_tokens, unsigned seed,
                      const RoutingBudget& budget) {
  std::vector<std::shared_ptr<Stopwatch>> watches;
  for (int stream = 0; stream < n_streams; ++stream) {
    watches.push_back(std::make_shared<Stopwatch>(n_tokens));
    const auto prompt =
        arbitrary_tokens(prompt_tokens, engine.model().vocab_size, seed * 1000u + static_cast<unsigned>(stream));
    engine.submit(request(prompt, n_tokens, budget), watches.back());
  }
  for (const auto& watch : watches) watch->wait();
  auto begin = Clock::time_point::min();
  auto end = Clock::time_point::max();
  for (const auto& watch : watches) {
    if (watch->times().size() < 2) throw Error(ErrorKind::internal, "an answer ended before its second token", "bench");
    begin = std::max(begin, watch->times().front());
    end = std::min(end, watch->times().back());
  }
  if (begin >= end)
    throw Error(ErrorKind::resource, "the streams did not run at the same time: the cache is too small", "bench");
  long long tokens = 0;
  for (const auto& watch : watches) {
    tokens += std::count_if(watch->times().begin(), watch->times().end(),
                            [&](auto time) { return time > begin && time <= end; });
  }
  return static_cast<double>(tokens) / std::chrono::duration<double>(end - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace moebox::cli

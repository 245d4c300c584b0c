#include "train/progress.h"

#include <algorithm>
#include <numeric>

#include <fmt/core.h>

namespace moebox::train {
namespace {

/// "experts 1.32 x": the load of the busiest expert of any layer over the mean of its layer; and who had nothing to do.
std::string balance_text(const std::vector<LayerLoad>& loads) {
  double worst = 0;
  int n_idle = 0;
  for (const LayerLoad& load : loads) {
    const auto sum = std::accumulate(load.tokens.begin(), load.tokens.end(), std::int64_t{0});
    if (sum == 0) continue;
    const double mean = static_cast<double>(sum) / static_cast<double>(load.tokens.size());
    worst = std::max(worst, static_cast<double>(*std::max_element(load.tokens.begin(), load.tokens.end())) / mean);
    n_idle += static_cast<int>(std::count(load.tokens.begin(), load.tokens.end(), 0));
  }
  if (worst == 0) return {};
  return fmt::format("  experts {:.2f}x{}", worst, n_idle > 0 ? fmt::format(", {} idle", n_idle) : "");
}

}  // namespace

std::string duration_text(double seconds) {
  const auto all = static_cast<std::int64_t>(seconds + 0.5);
  if (all < 60) return fmt::format("{} s", all);
  if (all < 3600) return fmt::format("{}:{:02}", all / 60, all % 60);
  return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
}

void Progress::add(const StepReport& report, double seconds) {
  step_ = report.step;
  learning_rate_ = report.learning_rate;
  all_tokens_ += static_cast<double>(report.n_tokens);
  all_seconds_ += seconds;
  n_skipped_ += report.skipped ? 1 : 0;
  ++window_.n_steps;
  window_.tokens += static_cast<double>(report.n_tokens);
  window_.seconds += seconds;
  if (!report.skipped) {
    ++window_.n_learnt;
    window_.loss += report.cross_entropy;
    window_.gradient_norm += report.gradient_norm;
  }
  if (window_.loads.empty()) {
    window_.loads = report.loads;
    return;
  }
  for (std::size_t i = 0; i < window_.loads.size() && i < report.loads.size(); ++i)
    std::transform(report.loads[i].tokens.begin(), report.loads[i].tokens.end(), window_.loads[i].tokens.begin(),
                   window_.loads[i].tokens.begin(), std::plus<>());
}

void Progress::next_window() { window_ = {}; }

std::string Progress::line() const {
  const auto n_learnt = static_cast<double>(window_.n_learnt);
  const double pace = window_.seconds > 0 ? window_.tokens / window_.seconds : 0;
  const double left = step_ == 0 ? 0 : all_seconds_ / static_cast<double>(step_) * static_cast<double>(steps_ - step_);
  std::string line = fmt::format("step {}/{}", step_, steps_);
  if (window_.n_learnt > 0)
    line += fmt::format("  loss {:.4f}  gradient {:.3g}", window_.loss / n_learnt, window_.gradient_norm / n_learnt);
  line += fmt::format("  rate {:.3g}  {:.0f} tokens/s  {} left", learning_rate_, pace, duration_text(left));
  line += balance_text(window_.loads);
  if (n_skipped_ > 0) line += fmt::format("  {} skipped", n_skipped_);
  return line;
}

}  // namespace moebox::train

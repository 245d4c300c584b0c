#include "runtime/prompt_pacer.h"

#include <algorithm>
#include <bit>

namespace moebox {
namespace {

// Steps of one kind differ: what is aimed at is so much of what is allowed.
constexpr double aim = 0.75;
// What a step takes without a prompt is measured again after so many with one: the answers' contexts grow meanwhile.
constexpr int most_unmeasured = 32;

}  // namespace

PromptPacer::Pace& PromptPacer::pace_of(int n_answers) noexcept {
  const auto width = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(std::max(1, n_answers))));
  return paces_[std::min(width, paces_.size()) - 1];
}

int PromptPacer::tokens(int n_answers) noexcept {
  const Pace& pace = pace_of(n_answers);
  if (pace.quiet_ms == 0 || pace.n_unmeasured >= most_unmeasured) return 0;
  return std::clamp(static_cast<int>(pace.share), 1, limits_.most_tokens);
}

void PromptPacer::step_took(int n_answers, int n_prompt_tokens, double ms) noexcept {
  if (n_answers < 1) return;
  Pace& pace = pace_of(n_answers);
  if (n_prompt_tokens == 0) {
    // A step that waited for the processor says little, one that was quicker than thought says all. If every step takes
    // longer, as answers' contexts make it, the estimate must follow before the next prompt tokens give way.
    constexpr double outlier = 1.5;
    double& quiet = pace.quiet_ms;
    quiet += quiet == 0 ? ms : ms < quiet ? 0.5 * (ms - quiet) : 0.2 * (std::min(ms, outlier * quiet) - quiet);
    pace.n_unmeasured = 0;
    return;
  }
  ++pace.n_unmeasured;
  // The rest of a prompt says less of a whole share, and nothing can be said of a pace that is not known.
  if (pace.quiet_ms == 0 || 2 * n_prompt_tokens < pace.share) return;
  const double allowed = aim * (limits_.slowdown - 1) * pace.quiet_ms;
  const double taken = std::max(ms - pace.quiet_ms, 0.1 * allowed);
  const double fits = n_prompt_tokens * allowed / std::max(taken, 1e-6);
  // Quick to give way, slow to ask for more.
  if (fits < pace.share)
    pace.share = std::max(fits, pace.share / 4);
  else
    pace.share += 0.2 * (std::min(fits, 2 * pace.share) - pace.share);
  pace.share = std::clamp(pace.share, 1.0, static_cast<double>(limits_.most_tokens));
}

}  // namespace moebox

#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moebox::train {

double Schedule::rate(std::int64_t step) const noexcept {
  if (step < warmup_steps) return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const std::int64_t first = kind == ScheduleKind::cosine ? warmup_steps : std::max(warmup_steps, steps - decay_steps);
  if (step < first) return learning_rate;
  const double way =
      static_cast<double>(step + 1 - first) / static_cast<double>(std::max<std::int64_t>(1, steps - first));
  const double shape = kind == ScheduleKind::cosine ? 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(way, 1.0)))
                                                    : 1.0 - std::min(way, 1.0);
  return learning_rate * (final_fraction + (1.0 - final_fraction) * shape);
}

}  // namespace moebox::train

// The learning rate of each step.
#pragma once

#include <cstdint>

namespace moebox::train {

enum class ScheduleKind {
  cosine,  // down along half a cosine (Loshchilov and Hutter 2017)
  wsd      // warm-up, stable, decay (arXiv 2404.06395): flat, then down in a line
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  std::int64_t steps = 0;
  std::int64_t warmup_steps = 0;  // in a line from 0
  std::int64_t decay_steps = 0;   // of wsd: the last ones
  double learning_rate = 3e-4;    // the highest
  double final_fraction = 0.1;    // of it, at the end

  /// Of step 0 to steps - 1. The first one is not 0, and the last one has the final fraction.
  double rate(std::int64_t step) const noexcept;
};

}  // namespace moebox::train

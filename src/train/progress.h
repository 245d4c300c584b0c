// How far a run is, in one line for a person: loss, speed, time left, how evenly the experts are used. It has no clock
// and no terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace moebox::train {

/// "1:07:30", "2:05", "8 s".
std::string duration_text(double seconds);

class Progress {
 public:
  explicit Progress(std::int64_t steps) : steps_(steps) {}

  /// Takes a step in that took so long.
  void add(const StepReport& report, double seconds);
  /// Of all steps since the last call of next_window(), or since the beginning: means, and loads added up.
  std::string line() const;
  void next_window();

  double tokens_per_second() const noexcept { return all_seconds_ > 0 ? all_tokens_ / all_seconds_ : 0; }

 private:
  struct Window {
    std::int64_t n_steps = 0, n_learnt = 0, n_skipped = 0;
    double loss = 0, gradient_norm = 0;  // sums over steps that were not skipped
    double tokens = 0, seconds = 0;
    std::vector<LayerLoad> loads;
  };

  const std::int64_t steps_;
  std::int64_t step_ = 0, n_skipped_ = 0;
  double learning_rate_ = 0, all_tokens_ = 0, all_seconds_ = 0;
  Window window_;
};

}  // namespace moebox::train

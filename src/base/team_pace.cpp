#include "base/team_pace.h"

#include <algorithm>

namespace moebox {
namespace {

constexpr double judged_seconds = 0.04;  // long beside what the system does now and then
constexpr double shortest_pause = 0.25, longest_pause = 10;
constexpr double trials_share = 0.05;  // of all time, at most, for trials that fail
constexpr double clearly_better = 1.05;

}  // namespace

void TeamPace::ran(double seconds, double computing) noexcept {
  if (size_ == 1) return;
  seconds_ += seconds;
  computing_ += std::clamp(computing, 0.0, seconds);
  since_trial_ += seconds;
  if (seconds_ < judged_seconds) return;

  const double speed = members_ * computing_ / seconds_;
  if (members_ != settled_) {
    const bool better = speed > settled_speed_ * clearly_better;
    // Half of a team that is far too large may still be too large.
    if (!better && members_ < settled_ && members_ > 1) return try_out(members_ / 2);
    pause_ = std::clamp(seconds_ / trials_share, shortest_pause, longest_pause);
    since_trial_ = 0;
    return better ? settle(members_, speed) : settle(settled_, settled_speed_);
  }
  settle(settled_, speed);
  if (since_trial_ < pause_) return;
  // Half of the members cannot do more than they are, so a team that computes half of its time is as good.
  if (settled_ > 1 && speed < settled_ / 2.0)
    try_out(settled_ / 2);
  else if (settled_ < size_)
    try_out(std::min(size_, settled_ * 2));
}

void TeamPace::try_out(int members) noexcept {
  members_ = members;
  seconds_ = computing_ = 0;
}

void TeamPace::settle(int members, double speed) noexcept {
  settled_ = members_ = members;
  settled_speed_ = speed;
  seconds_ = computing_ = 0;
}

}  // namespace moebox

// How many of a thread team's members a run takes. On a machine that others use too, members wait at barriers for those
// that the system does not run: fewer are then faster. No result depends on their number (docs/determinism.md).
#pragma once

namespace moebox {

class TeamPace {
 public:
  explicit TeamPace(int size) noexcept : size_(size), settled_(size), members_(size) {}

  int size() const noexcept { return size_; }
  /// How many take part in the next run.
  int members() const noexcept { return members_; }
  /// Told after each run of members(): the seconds that it took, and those of them in which its first member computed,
  /// neither waiting for others nor put aside by the system.
  void ran(double seconds, double computing) noexcept;
  /// Begins anew with all members: what comes next is other work.
  void forget() noexcept { *this = TeamPace(size_); }

 private:
  void try_out(int members) noexcept;
  void settle(int members, double speed) noexcept;

  int size_;
  int settled_;  // the best known number
  int members_;  // the same, or another that is tried out

  double settled_speed_ = 0;            // processors' worth of computing
  double seconds_ = 0, computing_ = 0;  // of this number of members, not judged yet
  double since_trial_ = 0, pause_ = 0;  // seconds; another number is tried out when the pause is over
};

}  // namespace moebox

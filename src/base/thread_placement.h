// Which processor each member of a thread team runs on: one of its own, different cores before a core's second thread.
// Left to the system, two members that spin at barriers can share one processor for seconds while another idles.
#pragma once

#include <vector>

#include <sched.h>

namespace moebox {

class ThreadPlacement {
 public:
  /// For `n_members`, among the processors that the calling thread may use. A team of at most half of them is not
  /// placed: several such teams must not meet on the same processors; nor is one larger than their number.
  explicit ThreadPlacement(int n_members);

  /// Whether there is anything to do.
  bool places() const noexcept { return !processors_.empty(); }
  /// The calling thread runs on the member's processor alone from now on. Does nothing where the system refuses.
  void pin(int member) const noexcept;
  /// The calling thread may use again what it could use when this object was made.
  void unpin() const noexcept;

 private:
  cpu_set_t all_{};
  std::vector<int> processors_;  // (n_members)
};

}  // namespace moebox

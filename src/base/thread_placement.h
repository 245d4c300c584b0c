// Which processor each member of a thread team runs on: one of its own, different cores before a core's second thread,
// neighbours on one memory node. Left to the system, two members that spin at barriers can share one processor for
// seconds while another idles. Members pack the part of each matrix that they will multiply by: the pages that they
// touch first lie on their own node.
#pragma once

#include <filesystem>
#include <vector>

#include <sched.h>

namespace moebox {

struct PlacedProcessor {
  int number;
  int node;  // of memory, as Linux numbers them
  bool operator==(const PlacedProcessor&) const = default;
};

/// The processors in the order in which members take them: a core's first threads, node by node, then second threads.
/// `system` is where Linux describes them (/sys/devices/system); what it does not tell counts as one node of whole
/// cores.
std::vector<PlacedProcessor> placement_order(const cpu_set_t& processors, const std::filesystem::path& system);

/// The nodes of the first `n_members` of these, counted from 0 without gaps in the order in which they come; empty
/// where there is only one.
std::vector<int> nodes_of_members(const std::vector<PlacedProcessor>& order, int n_members);

class ThreadPlacement {
 public:
  /// For `n_members`, among the processors that the calling thread may use. A team of at most half of them is not
  /// placed: several such teams must not meet on the same processors; nor is one larger than their number.
  explicit ThreadPlacement(int n_members);

  /// Whether there is anything to do.
  bool places() const noexcept { return !processors_.empty(); }
  /// The memory node of each member, counted from 0 without gaps; empty where all are on one, or not placed.
  const std::vector<int>& nodes() const noexcept { return nodes_; }
  /// The calling thread runs on the member's processor alone from now on. Does nothing where the system refuses.
  void pin(int member) const noexcept;
  /// The calling thread may use again what it could use when this object was made.
  void unpin() const noexcept;

 private:
  cpu_set_t all_{};
  std::vector<int> processors_;  // (n_members)
  std::vector<int> nodes_;       // (n_members)
};

}  // namespace moebox

// Units of work that the members of a team take from a common list: some panels of a group's matrix each. Where the
// team's memory has several nodes, each has a list of its own, of the panels that its members packed and that therefore
// lie there; a member whose own list is empty helps another node. Who takes a unit changes no bit of a result.
#pragma once

#include <atomic>
#include <vector>

#include "base/thread_team.h"

namespace moebox {

struct PanelUnit {
  int group, first_panel, n_panels;
};

class PanelUnits {
 public:
  /// Room for `max_units` in all. A team has no more nodes than members.
  PanelUnits(int max_units, int max_nodes);

  // One member fills it, and a barrier must follow.
  void clear() noexcept;
  /// Units of at most `at_once` of a group's `n_panels` panels. The matrix was packed by this team: WeightPacker.
  void add(const TeamMember& member, int group, int n_panels, int at_once) noexcept;

  /// The next unit, of this node first; nullptr when all are taken. Thread safe.
  const PanelUnit* take(int node) noexcept;

 private:
  struct alignas(64) List {
    std::atomic<int> next = 0;  // of those that nobody took yet
    std::vector<PanelUnit> units;
  };
  std::vector<List> lists_;  // (max_nodes)
  int n_used_ = 1;           // of these
};

}  // namespace moebox

#include "models/panel_units.h"

#include <algorithm>

namespace moebox {

PanelUnits::PanelUnits(int max_units, int max_nodes) : lists_(static_cast<std::size_t>(max_nodes)) {
  // Any node may get all: nothing is allocated in a step. Memory that is not touched costs nothing.
  for (List& list : lists_) list.units.reserve(static_cast<std::size_t>(max_units));
}

void PanelUnits::clear() noexcept {
  for (int node = 0; node < n_used_; ++node) {
    lists_[static_cast<std::size_t>(node)].units.clear();
    lists_[static_cast<std::size_t>(node)].next.store(0, std::memory_order_relaxed);
  }
  n_used_ = 1;
}

void PanelUnits::add(const TeamMember& member, int group, int n_panels, int at_once) noexcept {
  for (int first = 0; first < n_panels; first += at_once) {
    const int node = member.node_of(first, n_panels);
    n_used_ = std::max(n_used_, node + 1);
    lists_[static_cast<std::size_t>(node)].units.push_back({group, first, std::min(at_once, n_panels - first)});
  }
}

const PanelUnit* PanelUnits::take(int node) noexcept {
  for (int turn = 0; turn < n_used_; ++turn) {
    List& list = lists_[static_cast<std::size_t>((node + turn) % n_used_)];
    const int n_units = static_cast<int>(list.units.size());
    // Looked at before it is counted: many who find nothing would else push the counter on and on.
    if (list.next.load(std::memory_order_relaxed) >= n_units) continue;
    const int unit = list.next.fetch_add(1, std::memory_order_relaxed);
    if (unit < n_units) return &list.units[static_cast<std::size_t>(unit)];
  }
  return nullptr;
}

}  // namespace moebox

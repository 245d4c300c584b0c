#include "base/thread_placement.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <tuple>

namespace moebox {
namespace {

namespace fs = std::filesystem;

/// The first processor of those that share a core with this one.
int first_of_core(const fs::path& processor, int number) {
  std::ifstream file(processor / "topology" / "thread_siblings_list");
  int first = number;
  return file >> first ? first : number;
}

/// The memory node is told by a link in the processor's folder: node0, node1 ...
int node_of(const fs::path& processor) {
  std::error_code none;
  for (fs::directory_iterator entry(processor, none), end; !none && entry != end; entry.increment(none)) {
    const std::string name = entry->path().filename();
    int node = 0;
    const char* last = name.data() + name.size();
    if (name.starts_with("node") && std::from_chars(name.data() + 4, last, node).ptr == last && name.size() > 4)
      return node;
  }
  return 0;
}

}  // namespace

std::vector<PlacedProcessor> placement_order(const cpu_set_t& processors, const fs::path& system) {
  std::vector<std::tuple<bool, int, int>> order;
  for (int number = 0; number < CPU_SETSIZE; ++number) {
    if (!CPU_ISSET(number, &processors)) continue;
    const fs::path folder = system / "cpu" / ("cpu" + std::to_string(number));
    order.emplace_back(first_of_core(folder, number) != number, node_of(folder), number);
  }
  std::sort(order.begin(), order.end());
  std::vector<PlacedProcessor> placed;
  for (const auto& [second, node, number] : order) placed.push_back({number, node});
  return placed;
}

std::vector<int> nodes_of_members(const std::vector<PlacedProcessor>& order, int n_members) {
  std::vector<int> known, nodes;
  for (int member = 0; member < n_members; ++member) {
    const int node = order[static_cast<std::size_t>(member)].node;
    const auto found = std::find(known.begin(), known.end(), node);
    nodes.push_back(static_cast<int>(found - known.begin()));
    if (found == known.end()) known.push_back(node);
  }
  return known.size() > 1 ? nodes : std::vector<int>{};
}

ThreadPlacement::ThreadPlacement(int n_members) {
  if (n_members < 2 || sched_getaffinity(0, sizeof all_, &all_) != 0) return;
  const int n_processors = CPU_COUNT(&all_);
  if (n_members > n_processors || 2 * n_members <= n_processors) return;
  const std::vector<PlacedProcessor> order = placement_order(all_, "/sys/devices/system");
  for (int member = 0; member < n_members; ++member)
    processors_.push_back(order[static_cast<std::size_t>(member)].number);
  nodes_ = nodes_of_members(order, n_members);
}

void ThreadPlacement::pin(int member) const noexcept {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(processors_[static_cast<std::size_t>(member)], &own);
  (void)sched_setaffinity(0, sizeof own, &own);
}

void ThreadPlacement::unpin() const noexcept { (void)sched_setaffinity(0, sizeof all_, &all_); }

}  // namespace moebox

#include "base/thread_placement.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

namespace moebox {
namespace {

/// The first processor of those that share a core with this one; itself where the system does not tell.
int first_of_core(int processor) {
  const std::string name = "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/thread_siblings_list";
  int first = processor;
  if (std::FILE* file = std::fopen(name.c_str(), "r")) {
    if (std::fscanf(file, "%d", &first) != 1) first = processor;
    std::fclose(file);
  }
  return first;
}

}  // namespace

ThreadPlacement::ThreadPlacement(int n_members) {
  if (n_members < 2 || sched_getaffinity(0, sizeof all_, &all_) != 0) return;
  const int n_processors = CPU_COUNT(&all_);
  if (n_members > n_processors || 2 * n_members <= n_processors) return;
  std::vector<std::pair<bool, int>> order;  // a core's first thread before all second ones
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &all_)) order.emplace_back(first_of_core(processor) != processor, processor);
  }
  std::sort(order.begin(), order.end());
  for (int member = 0; member < n_members; ++member)
    processors_.push_back(order[static_cast<std::size_t>(member)].second);
}

void ThreadPlacement::pin(int member) const noexcept {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(processors_[static_cast<std::size_t>(member)], &own);
  (void)sched_setaffinity(0, sizeof own, &own);
}

void ThreadPlacement::unpin() const noexcept { (void)sched_setaffinity(0, sizeof all_, &all_); }

}  // namespace moebox

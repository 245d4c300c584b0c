#include "train/ranks.h"

#include <vector>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {

Ranks arrange_ranks(std::shared_ptr<World> all, int n_expert_ranks) {
  const int size = all->size(), rank = all->rank();
  if (size % n_expert_ranks != 0)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a number that divides the {} processes, found {}", size, n_expert_ranks),
                "parallel.expert");
  Ranks ranks;
  if (n_expert_ranks > 1) {
    std::vector<int> neighbours, alike;
    for (int i = 0; i < size; ++i) {
      if (i / n_expert_ranks == rank / n_expert_ranks) neighbours.push_back(i);
      if (i % n_expert_ranks == rank % n_expert_ranks) alike.push_back(i);
    }
    ranks.experts = all->part(neighbours);
    ranks.replicas = all->part(alike);
  } else {
    ranks.replicas = all;
  }
  ranks.all = std::move(all);
  return ranks;
}

}  // namespace moebox::train

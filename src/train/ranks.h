// Who shares what with whom in a run of several processes.
#pragma once

#include <memory>

#include "train/world.h"

namespace moebox::train {

struct Ranks {
  std::shared_ptr<World> all = make_world_of_one();
  std::shared_ptr<World> experts = make_world_of_one();   // that hold a layer's experts together, each its own ones
  std::shared_ptr<World> replicas = make_world_of_one();  // that hold the same experts
};

/// Every `n_expert_ranks` neighbours hold each layer's experts together. Throws Error(invalid_argument) where that
/// does not divide the number of ranks.
Ranks arrange_ranks(std::shared_ptr<World> all, int n_expert_ranks);

}  // namespace moebox::train

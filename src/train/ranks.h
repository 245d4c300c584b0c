// Who shares what with whom in a run of several processes.
#pragma once

#include <memory>

#include "train/world.h"

namespace moebox::train {

/// Neighbouring ranks that do something together; the world's size is a multiple of their product.
struct RankMix {
  int tensor = 1;  // that compute each layer of the same sequences together
  int expert = 1;  // groups of those, that hold each layer's experts together
};

struct Ranks {
  std::shared_ptr<World> all = make_world_of_one();
  std::shared_ptr<World> tensor = make_world_of_one();   // that compute the same sequences, each a share of every layer
  std::shared_ptr<World> experts = make_world_of_one();  // that hold a layer's experts together, each its own ones
  std::shared_ptr<World> replicas = make_world_of_one();  // that hold the same experts

  /// Of ranks that have the same sequences; each group has its own ones.
  int n_groups() const { return all->size() / tensor->size(); }
  int group() const { return all->rank() / tensor->size(); }
  /// Whether this rank holds its experts together with rank 0, or is rank 0: together they have the whole model.
  bool is_with_first() const { return tensor->is_first() && group() < experts->size(); }
  /// Whether ranks wait for each other within a step's forward and backward passes.
  bool compute_together() const { return tensor->size() > 1 || experts->size() > 1; }
};

/// Throws Error(invalid_argument) where the mix does not divide the number of ranks.
Ranks arrange_ranks(std::shared_ptr<World> all, const RankMix& mix);

}  // namespace moebox::train

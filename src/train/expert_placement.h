// Which rank holds which experts: experts that many tokens choose are put with those that few choose, so that the ranks
// that hold a layer together have about as much to do. What is decided depends on counted tokens alone: all ranks
// decide the same without a word.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "train/optimizer.h"
#include "train/weights.h"
#include "train/world.h"

namespace moebox::train {

/// Of one layer with experts, in one step.
struct LayerLoad {
  int layer;
  std::vector<std::int64_t> tokens;  // (n_experts): tokens that each has got
};

/// Tokens of the rank that has most, over the mean of the ranks; 1 where there are none. `places` as WeightSet has
/// them; `tokens` (n_experts).
double busiest_rank(const std::vector<std::int64_t>& places, const std::vector<std::int64_t>& tokens, int n_ranks);

/// Places where the busiest rank has less: as long as it helps, an expert of the busiest rank and a less busy one of
/// another change places. As many experts a rank as before; the same ones, where it would not save 3 %.
std::vector<std::int64_t> place_by_load(const std::vector<std::int64_t>& places,
                                        const std::vector<std::int64_t>& tokens, int n_ranks);

/// Of a layer whose experts have moved.
struct PlacedLayer {
  int layer;
  std::int64_t n_moved;
  double before, after;  // the busiest rank over the mean, by the tokens that were counted
};

/// What a checkpoint has of it.
struct ExpertPlaces {
  struct Layer {
    std::vector<std::int64_t> places;  // (n_experts)
    std::vector<std::int64_t> tokens;  // (n_experts): counted since they were placed last
  };
  int n_ranks = 1;
  std::map<int, Layer> layers{};
};

class ExpertPlacement {
 public:
  /// `ranks` hold the experts of `weights` together, each its own; `weights` must outlive this object.
  ExpertPlacement(const WeightSet& weights, std::shared_ptr<World> ranks);

  /// Counts a step's tokens, which are the same numbers in every rank. The busiest rank over the mean, of the layer
  /// where it is worst.
  double add(const std::vector<LayerLoad>& loads);
  /// Moves experts with their moments where it pays, and counts anew. Every rank calls it, between steps.
  std::vector<PlacedLayer> place(const Optimizer& optimizer);

  const ExpertPlaces& places() const noexcept { return places_; }
  /// Experts are where a checkpoint says, and their values are read afterwards; of another number of ranks, they are in
  /// their own order. Throws Error(invalid_file) for those of another model.
  void set_places(const ExpertPlaces& places);

 private:
  void move(int layer, const std::vector<std::int64_t>& to, const Optimizer& optimizer);

  const WeightSet& weights_;
  const std::shared_ptr<World> ranks_;
  ExpertPlaces places_;
};

}  // namespace moebox::train

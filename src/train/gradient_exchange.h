// Every weight has an owner among the ranks, who has its moments and steps it: gradients are added up at the owners,
// while the backward pass still runs, and new weights come back from them (ZeRO, Rajbhandari et al. 2019, stage 2).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/weights.h"
#include "train/world.h"

namespace moebox::train {

class GradientExchange {
 public:
  /// All ranks of `world` have the same weights in the same order, statistics left alone. `world` must outlive this
  /// object.
  GradientExchange(const std::vector<Weight>& weights, World& world, std::int64_t bucket_bytes = std::int64_t{4} << 20);
  ~GradientExchange();
  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;

  /// The weights that this rank steps; without gradient and owned by nobody: statistics.
  const std::vector<Weight>& owned() const noexcept { return owned_; }

  /// The backward pass that follows is the step's last one: gradients leave as soon as they are complete.
  void expect_last_backward();
  /// Sends what has not left yet, and waits. Then owned weights have the gradients of all ranks, and others none. A
  /// weight that has a gradient in no rank has none. Every rank calls it once a step, whatever it computed.
  void finish();
  /// Every rank gets the owners' values.
  void spread_values();

 private:
  class Ready;
  struct Bucket {
    int owner;
    std::vector<std::size_t> weights;  // places in trained_
    std::size_t n_missing = 0;         // gradients that are not complete yet
    Tensor values;                     // on their way, one behind the other
    std::unique_ptr<Transfer> transfer;
  };

  void make_buckets(const std::vector<int>& owners, std::int64_t bucket_bytes);
  void note_ready(std::size_t weight);
  void send_ready();
  void send(Bucket& bucket);
  void take(Bucket& bucket);

  World& world_;
  std::vector<Tensor> trained_;
  std::vector<Weight> owned_;
  std::vector<Bucket> buckets_;             // in the order in which they leave: the same in every rank
  std::vector<std::size_t> bucket_of_;      // by weight
  std::vector<std::int64_t> has_gradient_;  // by weight
  std::size_t n_sent_ = 0;
  bool expects_last_ = false;
};

/// A rank for each weight of so many elements, so that all have about as many.
std::vector<int> choose_owners(const std::vector<std::int64_t>& sizes, int n_ranks);

}  // namespace moebox::train

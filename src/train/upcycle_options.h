// What upcycling is asked for. It knows no tensors.
#pragma once

#include <cstdint>

namespace moebox::train {

struct UpcycleOptions {
  int n_experts = 0;        // 0: nothing is done
  int top_k = 2;            // experts of a token
  int pieces = 1;           // that a feed-forward layer is cut into, by its inner rows; an expert is one of them
  double noise = 0.01;      // of an expert's weights, as a part of their standard deviation: no two stay the same
  std::uint64_t seed = 0;   // of noise and routers
  double deviation = 0.02;  // of the routers' random weights
};

}  // namespace moebox::train

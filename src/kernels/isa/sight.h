// Which positions of a tile lanes see: for lanes.cpp and lanes_rounded.cpp.
#pragma once

#include "kernels/isa/functions.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

inline constexpr float lowest = -3.402823466e38f;  // finite: the difference of two such maxima is 0

// The part of a tile that lanes see: all of them the first `shared` rows, some the rows up to `seen`.
struct Sight {
  int shared, seen;
  Floats visible;  // rows of the tile that each lane sees
};

MOEBOX_OP Sight sight_of(const int* visible_positions, int first_position, int n_rows) {
  Sight sight{n_rows, 0, {}};
  alignas(64) float visible[query_lanes];
  for (int i = 0; i < query_lanes; ++i) {
    int n = visible_positions[i] - first_position;
    n = n < 0 ? 0 : n < n_rows ? n : n_rows;
    visible[i] = static_cast<float>(n);
    if (n < sight.shared) sight.shared = n;
    if (n > sight.seen) sight.seen = n;
  }
  sight.visible = load(visible);
  return sight;
}

// The largest of `old` and of the scores that each lane sees; the others become -infinity.
MOEBOX_OP Floats hide_and_find_maximum(float* scores, const Sight& sight, Floats old) {
  Floats m = old;
  for (int j = 0; j < sight.seen; ++j) {
    Floats s = load(scores + j * query_lanes);
    if (j >= sight.shared) {
      s = select_less(splat(static_cast<float>(j)), sight.visible, s, splat(-__builtin_inff()));
      store(scores + j * query_lanes, s);
    }
    m = maximum(s, m);  // drops a NaN, which makes the sum NaN later
  }
  return m;
}

}  // namespace moebox::MOEBOX_SIMD

// Rotary position embedding (Su et al. 2021), in both orders of the pairs: neighbours (0, 1), (2, 3) ... or halves
// (0, n / 2), (1, n / 2 + 1) ... Nothing is saved.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/heads.h"

namespace moebox::train_ops {

struct RopeAngles {
  const float *cos, *sin;  // (positions, half)
  std::int64_t n_positions, half;
  bool interleaved;        // pairs are neighbours
  std::int64_t first = 0;  // of a head's values, the first that is rotated
};

/// Rotates 2 * half values of every head, by the angles of the token's position, and copies the others.
/// positions (n_tokens) int64; null: token t has the position t % n_positions. in == out in memory is allowed.
/// Backward (the gradient of in, from that of out): by minus the angles. Throws Error(invalid_argument) when heads are
/// shorter than first + 2 * half or a position has no angles.
template <class T>
void rope(Compute& compute, const RopeAngles& angles, const std::int64_t* positions, bool backward, Heads<const T> in,
          Heads<T> out);

}  // namespace moebox::train_ops

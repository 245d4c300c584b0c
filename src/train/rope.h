// Rotary position embedding as spec states it, in float32.
#pragma once

#include "spec/rope.h"
#include "train/torch.h"

namespace moebox::train {

/// Of positions 0 to length - 1, with YaRN's factor on attention in it.
struct RopeTable {
  Tensor cos, sin;  // (length, dim / 2) float32
  bool interleaved = false;
};

/// Throws Error(unsupported) for dynamic NTK scaling: its rotation depends on how long a text has become, which a
/// training sequence does not say.
RopeTable make_rope_table(const RopeSpec& spec, std::int64_t length, const at::Device& device);

/// Rotates the first dim values of every head: x (batch, length, heads, head_dim), in x's type. Where the pairs
/// were neighbours, both halves of the rotated part may stand one behind the other afterwards: queries and keys agree,
/// and nothing but their products is looked at.
Tensor rotate(const Tensor& x, const RopeTable& table);

}  // namespace moebox::train

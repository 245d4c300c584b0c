// The chosen experts of every token: one grouped product for all of them, forward and backward, with the gated
// activation and the weighted sum in it.
//
//   out[t] = sum over the experts e of t, ascending, of down[e] * (w * silu(gate[e] x[t]) * (up[e] x[t]))
//
// Rows (a token and one of its experts) are sorted by expert. An expert without rows costs nothing, one with most of
// the rows is cut into tasks like the others (product.h). The forward saves the products of gate and up; the backward
// takes x and the plan again.
#pragma once

#include <cstdint>
#include <vector>

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

/// Which rows each expert has, and which each token. A slot is an index into (n_tokens, top_k).
struct ExpertPlan {
  std::int64_t n_tokens = 0, n_slots = 0;
  std::vector<std::int64_t> first_row;       // (n_experts + 1)
  std::vector<std::int32_t> token, slot;     // (n_rows), by ascending slot within an expert
  std::vector<std::int64_t> first_of_token;  // (n_tokens + 1)
  std::vector<std::int32_t> rows_of_token;   // (n_rows), by ascending expert within a token

  std::int64_t n_experts() const noexcept { return static_cast<std::int64_t>(first_row.size()) - 1; }
  std::int64_t n_rows() const noexcept { return static_cast<std::int64_t>(token.size()); }
};

/// ids (n_tokens, top_k), -1 where a token has fewer experts. Throws Error(invalid_argument) for an id that is no
/// expert's, or more than 2^31 - 1 slots.
ExpertPlan plan_experts(const std::int64_t* ids, std::int64_t n_tokens, std::int64_t top_k, std::int64_t n_experts);

template <class T>
struct ExpertWeights {
  std::int64_t hidden_size, width;
  const T* gate_up;  // (n_experts, 2 * width, hidden_size), gate first
  const T* down;     // (n_experts, hidden_size, width)
};

/// x and out (n_tokens, hidden_size); weights (n_slots); gate_up_saved (n_rows, 2 * width).
template <class T>
void experts_forward(Compute& compute, const ExpertPlan& plan, const ExpertWeights<T>& experts, Rows<const T> x,
                     const float* weights, T* gate_up_saved, Rows<T> out);

template <class T>
struct ExpertGradients {
  Rows<T> dx;      // (n_tokens, hidden_size)
  float* weights;  // (n_slots): 0 where there is no expert
  float* gate_up;  // like ExpertWeights, and so
  float* down;     // is this: 0 for experts without rows
  bool add;        // to gate_up and down
};

template <class T>
void experts_backward(Compute& compute, const ExpertPlan& plan, const ExpertWeights<T>& experts, Rows<const T> x,
                      const float* weights, const T* gate_up_saved, Rows<const T> d_out,
                      const ExpertGradients<T>& gradients);

}  // namespace moebox::train_ops

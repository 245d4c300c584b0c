// Causal attention with documents' borders, grouped queries, and keys and values of different size (MLA). Blocks of
// queries meet tiles of keys (Dao 2023, arXiv 2307.08691): no matrix of tokens times tokens exists, in no pass.
//
// A sequence is a list of tokens; several rows of a batch are one list with borders between them. Scores and softmax
// are in float, probabilities are rounded to T for their product with the values. Tiles lie at multiples of 256 tokens
// of the list and are folded in ascending order.
#pragma once

#include <cstdint>
#include <vector>

#include "train/ops/compute.h"
#include "train/ops/heads.h"

namespace moebox::train_ops {

/// The first token that each token sees: (batch * length). A border is where a row of the batch begins, and where the
/// number in documents (batch, length) changes; null: none but the rows'.
std::vector<std::int32_t> first_visible(const std::int32_t* documents, std::int64_t batch, std::int64_t length);

template <class T>
struct Attention {
  Heads<const T> q;  // (n_tokens, n_heads, key_dim)
  Heads<const T> k;  // (n_tokens, n_kv_heads, key_dim), n_kv_heads divides n_heads
  Heads<const T> v;  // (n_tokens, n_kv_heads, value_dim)
  /// (n_tokens): token t attends to the tokens first[t] .. t. Never descends.
  const std::int32_t* first;
  float scale;  // of the scores
};

/// out (n_tokens, n_heads, value_dim); saves log_sum_exp (n_heads, n_tokens) of the scaled scores.
/// Throws Error(invalid_argument) when shapes do not fit together, or first does not say what it should.
template <class T>
void attention_forward(Compute& compute, const Attention<T>& attention, Heads<T> out, float* log_sum_exp);

template <class T>
struct AttentionGradients {
  Heads<T> dq, dk, dv;  // like q, k, v
};

/// Scores and probabilities are computed again. A task has the keys of one kv head and one segment of tokens, whose
/// length depends on the documents' alone; a query's parts from several segments are added in ascending order.
template <class T>
void attention_backward(Compute& compute, const Attention<T>& attention, Heads<const T> out, const float* log_sum_exp,
                        Heads<const T> d_out, const AttentionGradients<T>& gradients);

}  // namespace moebox::train_ops

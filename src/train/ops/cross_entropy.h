// The loss of next-token prediction with the head's product in it: logits exist for a chunk of rows only, and turn into
// their gradients where they are. Loss and all gradients are made in one pass; a backward only scales them.
//
// For a row with a target t: lse = log sum exp(logits), loss = lse - logits[t] + z_loss * lse^2 (the z-loss of
// PaLM, arXiv 2204.02311, section 5). Rows without a target (a negative one, such as -100) count for nothing.
#pragma once

#include <cstdint>

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

template <class T>
struct CrossEntropy {
  Rows<const T> rows;           // (n_rows, hidden_size)
  Rows<const T> head;           // (vocab_size, hidden_size)
  const std::int64_t* targets;  // (n_rows)
  float scale = 1;              // of the gradients: 1 / (number of targets) for the mean
  float z_loss = 0;
  std::int64_t chunk = 1024;  // rows whose logits exist at once: chunk * vocab_size * 4 bytes
};

struct CrossEntropyLoss {
  double loss = 0;    // sum over the rows of lse - logits[t], not scaled
  double z_loss = 0;  // sum of lse^2
  std::int64_t n_targets = 0;
};

/// d_rows (n_rows, hidden_size); d_head (vocab_size, hidden_size) float, (+)=. Either may have null data: then there
/// are losses only where both have. Gradients are those of scale * (loss + z_loss * lse^2). Losses are added in double,
/// row after row. Throws Error(invalid_argument) for a target outside the vocabulary, before anything is written.
template <class T>
CrossEntropyLoss cross_entropy(Compute& compute, const CrossEntropy<T>& operands, Rows<T> d_rows, float* d_head,
                               bool add);

}  // namespace moebox::train_ops

// Causal attention over the tokens of one document.
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// q (batch, length, heads, key_dim), k (batch, length, kv_heads, key_dim), v (batch, length, kv_heads, value_dim):
/// (batch, length, heads * value_dim). kv_heads divides heads. A token attends to itself and to those before it of the
/// same document: `documents` (batch, length) int32 says which that is; undefined: each row is one document. The
/// softmax is float32.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& documents, double scale);

}  // namespace moebox::train

// Keys of latent attention in its expanded form (DeepSeek-V2, arXiv 2405.04434, section 2.1): a part of each head's
// own, and one part, rotated before, that all heads share.
#pragma once

#include "train/ops/compute.h"
#include "train/ops/heads.h"

namespace moebox::train_ops {

/// keys (n_tokens, n_heads, own + shared) from own (n_tokens, n_heads, own) and shared (n_tokens, 1, shared).
template <class T>
void latent_keys_forward(Compute& compute, Heads<const T> own, Heads<const T> shared, Heads<T> keys);

/// d_shared is the sum over the heads, ascending, in float.
template <class T>
void latent_keys_backward(Compute& compute, Heads<const T> d_keys, Heads<T> d_own, Heads<T> d_shared);

}  // namespace moebox::train_ops

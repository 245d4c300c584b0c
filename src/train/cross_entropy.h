// The loss of next-token prediction, without ever holding the logits of all tokens.
#pragma once

#include "train/torch.h"

namespace moebox::train {

/// A target of this value has no part in the loss.
inline constexpr std::int64_t no_target = -100;

/// The sum (not the mean) over all tokens with a target of -log softmax(head * row)[target]: a float32 scalar.
/// rows (n_tokens, hidden_size); head (vocab_size, hidden_size) float32, rounded to the rows' type; targets (n_tokens)
/// int64. Logits are made of `chunk` tokens at a time, and the gradients with them: the backward only scales what is
/// there. Throws Error(invalid_argument) when no token has a target, or one is outside the vocabulary.
Tensor cross_entropy(const Tensor& rows, const Tensor& head, const Tensor& targets, std::int64_t chunk = 512);

/// What is thrown where no token has a target.
[[noreturn]] void refuse_empty_mask();

}  // namespace moebox::train

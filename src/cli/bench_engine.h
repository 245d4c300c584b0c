// Measurements of one loaded model: prompt speed, and the speed of one or many answers at once. Knows nothing of
// printing.
#pragma once

#include <vector>

#include "runtime/engine.h"

namespace moebox::cli {

/// `n_tokens` ids of the vocabulary, the same ones for the same seed; control tokens may be among them.
std::vector<TokenId> arbitrary_tokens(int n_tokens, int vocab_size, unsigned seed);

/// Tokens a second of a prompt of `n_tokens` that nothing is known of yet.
double measure_prefill(Engine& engine, int n_tokens, unsigned seed, const RoutingBudget& budget = {});

/// Tokens a second of `n_streams` answers together, counted while all of them run: from the moment that the last one
/// has its first token to the moment that the first one has its last. Every answer has `n_tokens` after a prompt of
/// `prompt_tokens`.
double measure_decode(Engine& engine, int n_streams, int n_tokens, int prompt_tokens, unsigned seed,
                      const RoutingBudget& budget = {});

/// The middle one; the mean of the two middle ones of an even number. Not empty.
double median(std::vector<double> values);

}  // namespace moebox::cli

// What keeps the experts of a layer evenly used: two losses and one rule without a loss. Padding counts nowhere.
#pragma once

#include "routing/gate.h"
#include "train/torch.h"

namespace moebox::train {

/// The sequence-wise balance loss of DeepSeek-V3 (arXiv 2412.19437, equations 17 to 20) without its factor, the mean
/// over the sequences: for each of them sum over experts i of f_i * P_i, where f_i is the share of its tokens that
/// chose i, times n_experts / top_k, and P_i the mean of i's score, scores of a token divided by their sum. 1 when all
/// experts are used alike. Gradients reach `logits` through P.
/// logits (batch * length, n_experts) float32; ids as apply_gate() gives them; valid (batch * length) bool or
/// undefined.
Tensor balance_loss(const GateSpec& spec, const Tensor& logits, const Tensor& ids, const Tensor& valid,
                    std::int64_t batch);

/// The mean over tokens of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, equation 5): keeps logits small.
Tensor z_loss(const Tensor& logits, const Tensor& valid);

/// Balance without a loss (arXiv 2408.15664): bias (n_experts) float32 rises by `rate` for experts with less than the
/// mean load and falls by it for those with more. `load` (n_experts) int64: of all tokens since the last update.
void update_correction_bias(const Tensor& bias, const Tensor& load, double rate);

}  // namespace moebox::train

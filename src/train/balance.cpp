#include "train/balance.h"

namespace moebox::train {

Tensor balance_loss(const GateSpec& spec, const Tensor& logits, const Tensor& ids, const Tensor& valid,
                    std::int64_t batch) {
  const std::int64_t n_experts = spec.n_experts;
  Tensor share;
  if (spec.score == GateScore::softmax) {
    share = at::softmax(logits, 1);
  } else {
    const Tensor scores = at::sigmoid(logits);
    share = scores / scores.sum(1, true);
  }
  // (batch * length, n_experts): 1 where the token chose the expert; the column of what is no expert is left out.
  const Tensor chosen =
      at::zeros({ids.size(0), n_experts + 1}, logits.options()).scatter_(1, ids + 1, 1.0).narrow(1, 1, n_experts);
  const Tensor is_token = valid.defined() ? valid.to(at::kFloat) : at::ones({ids.size(0)}, logits.options());
  const auto by_sequence = [&](const Tensor& x) { return x.reshape({batch, -1, n_experts}).sum(1); };
  const Tensor n_tokens = is_token.reshape({batch, -1}).sum(1, true);  // (batch, 1)
  const Tensor at_least_one = n_tokens.clamp_min(1.0);
  const Tensor mean_share = by_sequence(share * is_token.unsqueeze(1)) / at_least_one;
  const Tensor frequency = by_sequence(chosen) / at_least_one * (static_cast<double>(n_experts) / spec.top_k);
  const Tensor n_sequences = n_tokens.gt(0).sum().clamp_min(1);
  return (mean_share * frequency).sum() / n_sequences;
}

Tensor z_loss(const Tensor& logits, const Tensor& valid) {
  const Tensor squares = at::logsumexp(logits, {1}).square();
  if (!valid.defined()) return squares.mean();
  const Tensor is_token = valid.to(at::kFloat);
  return (squares * is_token).sum() / is_token.sum().clamp_min(1.0);
}

void update_correction_bias(const Tensor& bias, const Tensor& load, double rate) {
  const at::NoGradGuard no_gradient;
  const Tensor counts = load.to(at::kDouble);
  bias.add_(at::sign(counts.mean() - counts).to(bias.scalar_type()), rate);
}

}  // namespace moebox::train

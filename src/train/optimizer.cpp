#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace moebox::train {
namespace {

// Rows of these stand for tokens: there is no direction that all of them share.
constexpr std::array<std::string_view, 4> of_tokens = {"embedding", "output", "mtp_embedding", "mtp_output"};

bool is_for_muon(const Weight& weight) {
  return weight.kind == WeightKind::matrix &&
         std::ranges::find(of_tokens, weight.parts.front().role) == of_tokens.end();
}

std::vector<Weight> chosen(const std::vector<Weight>& weights, bool use_muon, bool for_muon) {
  std::vector<Weight> found;
  for (const Weight& weight : weights)
    if ((use_muon && is_for_muon(weight)) == for_muon) found.push_back(weight);
  return found;
}

}  // namespace

Optimizer::Optimizer(const std::vector<Weight>& weights, const AdamWOptions& adamw,
                     const std::optional<MuonOptions>& muon)
    : adamw_(chosen(weights, muon.has_value(), false), adamw),
      muon_(chosen(weights, muon.has_value(), true), muon.value_or(MuonOptions{})) {}

void Optimizer::step(double learning_rate, double gradient_scale) {
  adamw_.step(learning_rate, gradient_scale);
  muon_.step(learning_rate, gradient_scale);
}

void Optimizer::clear_gradients() {
  adamw_.clear_gradients();
  muon_.clear_gradients();
}

std::vector<Tensor> Optimizer::moments_of(const Tensor& values) const {
  const std::vector<Tensor> moments = adamw_.moments_of(values);
  return moments.empty() ? muon_.moments_of(values) : moments;
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state = adamw_.state();
  for (NamedTensor& momentum : muon_.state()) state.push_back(std::move(momentum));
  return state;
}

}  // namespace moebox::train

#include "train/adamw.h"

#include <cmath>

namespace moebox::train {

AdamW::AdamW(const WeightSet& weights, const AdamWOptions& options)
    : options_(options), groups_{{options.weight_decay, {}, {}, {}, {}}, {0.0, {}, {}, {}, {}}} {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights.all()) {
    if (weight.kind == WeightKind::statistic) continue;
    Group& group = groups_[weight.kind == WeightKind::matrix ? 0 : 1];
    group.weights.push_back(weight.values);
    group.means.push_back(at::zeros_like(weight.values));
    group.squares.push_back(at::zeros_like(weight.values));
    group.steps.push_back(at::zeros({}, weight.values.options()));
  }
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_gradient;
  ++n_steps_;
  for (Group& group : groups_) {
    std::vector<Tensor> values, gradients, means, squares, steps;
    for (std::size_t i = 0; i < group.weights.size(); ++i) {
      const Tensor& gradient = group.weights[i].grad();
      if (!gradient.defined()) continue;
      group.steps[i].add_(1);
      values.push_back(group.weights[i].detach());
      gradients.push_back(gradient);
      means.push_back(group.means[i]);
      squares.push_back(group.squares[i]);
      steps.push_back(group.steps[i]);
    }
    if (values.empty()) continue;
    at::_fused_adamw_(values, gradients, means, squares, {}, steps, learning_rate, options_.beta1, options_.beta2,
                      group.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
}

void AdamW::clear_gradients() {
  for (Group& group : groups_)
    for (Tensor& weight : group.weights) weight.mutable_grad().reset();
}

double gradient_norm(const WeightSet& weights) {
  double sum = 0;
  for (const Tensor& weight : weights.trained())
    if (weight.grad().defined()) {
      const auto length = at::linalg_vector_norm(weight.grad()).item<double>();
      sum += length * length;
    }
  return std::sqrt(sum);
}

void scale_gradients(const WeightSet& weights, double factor) {
  const at::NoGradGuard no_gradient;
  for (const Tensor& weight : weights.trained())
    if (weight.grad().defined()) weight.mutable_grad().mul_(factor);
}

}  // namespace moebox::train

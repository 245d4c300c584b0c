#include "train/adamw.h"

#include "base/error.h"
#include "train/cpu_compute.h"
#include "train/ops/optimiser.h"

namespace moebox::train {

AdamW::AdamW(const std::vector<Weight>& weights, const AdamWOptions& options)
    : options_(options), groups_{{options.weight_decay, {}, {}, {}, {}, {}}, {0.0, {}, {}, {}, {}, {}}} {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights) {
    if (weight.kind == WeightKind::statistic) continue;
    Group& group = groups_[weight.kind == WeightKind::matrix ? 0 : 1];
    group.names.push_back(weight.parts.front().name);
    group.weights.push_back(weight.values);
    group.means.push_back(at::zeros_like(weight.values));
    group.squares.push_back(at::zeros_like(weight.values));
    group.steps.push_back(0);
  }
}

void AdamW::step(double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_gradient;
  for (Group& group : groups_) {
    std::vector<Tensor> values, gradients, means, squares, steps;  // of torch's own step
    for (std::size_t i = 0; i < group.weights.size(); ++i) {
      const Tensor weight = group.weights[i].detach(), gradient = group.weights[i].grad();
      if (!gradient.defined()) continue;
      ++group.steps[i];
      if (is_for_cpu_operators(weight) && gradient.is_contiguous()) {
        const train_ops::AdamW settings{learning_rate,      options_.beta1, options_.beta2, options_.epsilon,
                                        group.weight_decay, group.steps[i], gradient_scale, false};
        train_ops::adamw(cpu_compute(), settings, weight.numel(), elements<float>(weight), elements<float>(gradient),
                         elements<float>(group.means[i]), elements<float>(group.squares[i]), nullptr);
        continue;
      }
      values.push_back(weight);
      gradients.push_back(gradient_scale == 1.0 ? gradient : gradient * gradient_scale);
      means.push_back(group.means[i]);
      squares.push_back(group.squares[i]);
      steps.push_back(at::full({}, static_cast<double>(group.steps[i]), weight.options()));
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

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> state;
  for (const Group& group : groups_)
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      state.push_back({"mean/" + group.names[i], group.means[i]});
      state.push_back({"square/" + group.names[i], group.squares[i]});
    }
  return state;
}

std::map<std::string, std::int64_t> AdamW::counts() const {
  std::map<std::string, std::int64_t> counts;
  for (const Group& group : groups_)
    for (std::size_t i = 0; i < group.names.size(); ++i) counts[group.names[i]] = group.steps[i];
  return counts;
}

void AdamW::set_counts(const std::map<std::string, std::int64_t>& counts) {
  for (Group& group : groups_)
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      const auto count = counts.find(group.names[i]);
      if (count == counts.end())
        throw Error(ErrorKind::invalid_file, "the optimizer's counts are of another model", "optimizer_steps",
                    group.names[i] + " is not among them");
      group.steps[i] = count->second;
    }
}

double squared_gradients(const std::vector<Weight>& weights) {
  double sum = 0;
  for (const Weight& weight : weights) {
    if (weight.kind == WeightKind::statistic) continue;
    const Tensor& gradient = weight.values.grad();
    if (!gradient.defined()) continue;
    if (is_for_cpu_operators(gradient) && gradient.is_contiguous()) {
      sum += train_ops::sum_squares(cpu_compute(), elements<float>(gradient), gradient.numel());
    } else {
      const auto length = at::linalg_vector_norm(gradient).item<double>();
      sum += length * length;
    }
  }
  return sum;
}

}  // namespace moebox::train

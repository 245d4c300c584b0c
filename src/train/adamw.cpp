#include "train/adamw.h"

#include "base/error.h"
#include "train/cpu_compute.h"
#include "train/ops/optimiser.h"

namespace moebox::train {

AdamW::AdamW(const std::vector<Weight>& weights, const AdamWOptions& options) : options_(options) {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights) {
    if (weight.kind == WeightKind::statistic) continue;
    const double decay = weight.kind == WeightKind::matrix ? options.weight_decay : 0.0;
    moving_.push_back({weight, decay, at::zeros_like(weight.values), at::zeros_like(weight.values)});
  }
}

/// What torch's own step takes: lists of weights that decay alike.
struct AdamW::Fused {
  std::vector<Tensor> values, gradients, means, squares, steps;

  void add(const Moving& moving, double gradient_scale) {
    const Tensor value = moving.weight.values.detach(), &gradient = moving.weight.values.grad();
    values.push_back(value);
    gradients.push_back(gradient_scale == 1.0 ? gradient : gradient * gradient_scale);
    means.push_back(moving.mean);
    squares.push_back(moving.square);
    steps.push_back(at::full({}, static_cast<double>(moving.n_steps), value.options()));
  }
};

void AdamW::step(double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_gradient;
  std::map<double, Fused> fused;  // by decay
  for (Moving& moving : moving_) {
    const Tensor value = moving.weight.values.detach(), &gradient = moving.weight.values.grad();
    if (!gradient.defined()) continue;
    ++moving.n_steps;
    if (!is_for_cpu_operators(value) || !gradient.is_contiguous()) {
      fused[moving.weight_decay].add(moving, gradient_scale);
      continue;
    }
    const train_ops::AdamW settings{learning_rate,       options_.beta1, options_.beta2, options_.epsilon,
                                    moving.weight_decay, moving.n_steps, gradient_scale, false};
    train_ops::adamw(cpu_compute(), settings, value.numel(), elements<float>(value), elements<float>(gradient),
                     elements<float>(moving.mean), elements<float>(moving.square), nullptr);
  }
  for (auto& [decay, all] : fused)
    at::_fused_adamw_(all.values, all.gradients, all.means, all.squares, {}, all.steps, learning_rate, options_.beta1,
                      options_.beta2, decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::clear_gradients() {
  for (Moving& moving : moving_) moving.weight.values.mutable_grad().reset();
}

std::vector<Tensor> AdamW::moments_of(const Tensor& values) const {
  for (const Moving& moving : moving_)
    if (moving.weight.values.is_same(values)) return {moving.mean, moving.square};
  return {};
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> state;
  for (const Moving& moving : moving_) {
    add_parts(state, "mean", moving.weight, moving.mean);
    add_parts(state, "square", moving.weight, moving.square);
  }
  return state;
}

std::map<std::string, std::int64_t> AdamW::counts() const {
  std::map<std::string, std::int64_t> counts;
  for (const Moving& moving : moving_) counts[key_of(moving.weight)] = moving.n_steps;
  return counts;
}

void AdamW::set_counts(const std::map<std::string, std::int64_t>& counts) {
  for (Moving& moving : moving_) {
    const auto count = counts.find(key_of(moving.weight));
    if (count == counts.end())
      throw Error(ErrorKind::invalid_file, "the optimizer's counts are of another model", "optimizer_steps",
                  key_of(moving.weight) + " is not among them");
    moving.n_steps = count->second;
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

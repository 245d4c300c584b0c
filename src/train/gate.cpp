#include "train/gate.h"

#include <span>
#include <vector>

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t tokens_of_a_task = 64;

/// Views of a forward's arrays: one row a token.
struct GateRows {
  const float* logits;
  const bool* valid;  // nullptr: all
  std::int64_t* ids;
  float* weights;
  float* scores;
  float* dropped_share;
};

/// One token's choice, or the weights of the one that was made before.
class TokenGate {
 public:
  TokenGate(const GateSpec& spec, std::span<const float> bias, const RoutingBudget& budget, bool fixed)
      : spec_(spec), bias_(bias), budget_(budget), fixed_(fixed), scratch_(spec), chosen_(scratch_.picked.size()) {}

  void operator()(const GateRows& rows, std::int64_t token) {
    const auto n_experts = static_cast<std::size_t>(spec_.n_experts), top_k = chosen_.size();
    std::int64_t* ids = rows.ids + token * spec_.top_k;
    float* weights = rows.weights + token * spec_.top_k;
    const std::span<const float> logits(rows.logits + token * spec_.n_experts, n_experts);
    GateChoice choice;
    if (fixed_) {
      for (; choice.n_experts < spec_.top_k && ids[choice.n_experts] >= 0; ++choice.n_experts)
        chosen_[static_cast<std::size_t>(choice.n_experts)].expert = static_cast<int>(ids[choice.n_experts]);
      weigh_experts(spec_, logits, scratch_, std::span(chosen_).first(static_cast<std::size_t>(choice.n_experts)));
    } else if (rows.valid == nullptr || rows.valid[token]) {
      choice = choose_experts(spec_, logits, bias_, budget_, scratch_, chosen_);
    }
    for (std::size_t i = 0; i < top_k; ++i) {
      const bool is_there = i < static_cast<std::size_t>(choice.n_experts);
      ids[i] = is_there ? chosen_[i].expert : -1;
      weights[i] = is_there ? chosen_[i].weight : 0.0f;
    }
    rows.dropped_share[token] = choice.dropped_share;
    std::copy(scratch_.scores.begin(), scratch_.scores.end(), rows.scores + token * spec_.n_experts);
  }

 private:
  const GateSpec& spec_;
  const std::span<const float> bias_;
  const RoutingBudget& budget_;
  const bool fixed_;
  GateScratch scratch_;
  std::vector<ChosenExpert> chosen_;
};

/// Gradient of a token's logits from that of its weights. `scores` are the forward's.
void token_backward(const GateSpec& spec, const std::int64_t* ids, const float* weights_gradient, const float* scores,
                    float* logits_gradient) {
  double kept = 0, share = 0;  // sum of scores; sum of gradient times score
  int n = 0;
  for (; n < spec.top_k && ids[n] >= 0; ++n) {
    kept += static_cast<double>(scores[ids[n]]);
    share += static_cast<double>(weights_gradient[n]) * static_cast<double>(scores[ids[n]]);
  }
  const double sum = spec.normalize ? kept + 1e-20 : 1.0;
  const double mean = spec.normalize ? share / sum : 0.0;
  const auto score_gradient = [&](int i) {
    return static_cast<double>(spec.scale) * (static_cast<double>(weights_gradient[i]) - mean) / sum;
  };
  std::fill_n(logits_gradient, spec.n_experts, 0.0f);
  if (spec.score == GateScore::sigmoid) {
    for (int i = 0; i < n; ++i) {
      const auto score = static_cast<double>(scores[ids[i]]);
      logits_gradient[ids[i]] = static_cast<float>(score_gradient(i) * score * (1.0 - score));
    }
    return;
  }
  double through_sum = 0;
  for (int i = 0; i < n; ++i) through_sum += score_gradient(i) * static_cast<double>(scores[ids[i]]);
  for (int e = 0; e < spec.n_experts; ++e)
    logits_gradient[e] = static_cast<float>(-static_cast<double>(scores[e]) * through_sum);
  for (int i = 0; i < n; ++i)
    logits_gradient[ids[i]] =
        static_cast<float>(static_cast<double>(scores[ids[i]]) * (score_gradient(i) - through_sum));
}

/// What a forward needs beside the logits. In a struct, for autograd takes a tensor argument for an input that has a
/// gradient.
struct GateTask {
  const GateSpec& spec;
  const RoutingBudget& budget;
  bool fixed;                 // ids are read, not written
  Tensor bias, valid;         // undefined: none
  Tensor ids, dropped_share;  // written
};

struct Gate : torch::autograd::Function<Gate> {
  static Tensor forward(AutogradContext* context, const Tensor& logits, const GateTask& task) {
    const auto& [spec, budget, fixed, bias, valid, ids, dropped_share] = task;
    const Tensor weights = at::empty({logits.size(0), spec.top_k}, at::kFloat), scores = at::empty_like(logits);
    const GateRows rows{logits.const_data_ptr<float>(),       valid.defined() ? valid.const_data_ptr<bool>() : nullptr,
                        ids.mutable_data_ptr<std::int64_t>(), weights.mutable_data_ptr<float>(),
                        scores.mutable_data_ptr<float>(),     dropped_share.mutable_data_ptr<float>()};
    const std::span<const float> bias_values(bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                                             bias.defined() ? static_cast<std::size_t>(bias.size(0)) : 0);
    at::parallel_for(0, logits.size(0), tokens_of_a_task, [&](std::int64_t first, std::int64_t last) {
      TokenGate gate(task.spec, bias_values, task.budget, task.fixed);
      for (std::int64_t token = first; token < last; ++token) gate(rows, token);
    });
    context->saved_data["n_experts"] = static_cast<std::int64_t>(spec.n_experts);
    context->saved_data["top_k"] = static_cast<std::int64_t>(spec.top_k);
    context->saved_data["sigmoid"] = spec.score == GateScore::sigmoid;
    context->saved_data["normalize"] = spec.normalize;
    context->saved_data["scale"] = static_cast<double>(spec.scale);
    context->save_for_backward({ids, scores});
    return weights;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    GateSpec spec;
    spec.n_experts = static_cast<int>(context->saved_data["n_experts"].toInt());
    spec.top_k = static_cast<int>(context->saved_data["top_k"].toInt());
    spec.score = context->saved_data["sigmoid"].toBool() ? GateScore::sigmoid : GateScore::softmax;
    spec.normalize = context->saved_data["normalize"].toBool();
    spec.scale = static_cast<float>(context->saved_data["scale"].toDouble());
    const variable_list saved = context->get_saved_variables();
    const Tensor weights_gradient = gradients[0].contiguous(), logits_gradient = at::empty_like(saved[1]);
    const auto* ids = saved[0].const_data_ptr<std::int64_t>();
    const auto* from = weights_gradient.const_data_ptr<float>();
    const auto* scores = saved[1].const_data_ptr<float>();
    auto* to = logits_gradient.mutable_data_ptr<float>();
    at::parallel_for(0, saved[0].size(0), tokens_of_a_task, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t token = first; token < last; ++token)
        token_backward(spec, ids + token * spec.top_k, from + token * spec.top_k, scores + token * spec.n_experts,
                       to + token * spec.n_experts);
    });
    return {logits_gradient, {}};
  }
};

}  // namespace

GateOutput apply_gate(const GateSpec& spec, const Tensor& logits, const Tensor& bias, const RoutingBudget& budget,
                      const Tensor& valid, const Tensor& fixed_ids) {
  // The choice is made on the processor, wherever the logits are: it is routing's plain C++.
  const at::Device device = logits.device();
  const GateTask task{
      spec,
      budget,
      fixed_ids.defined(),
      bias.defined() ? bias.detach().cpu() : bias,
      valid.defined() ? valid.cpu() : valid,
      fixed_ids.defined() ? fixed_ids.cpu().clone() : at::empty({logits.size(0), spec.top_k}, at::kLong),
      at::zeros({logits.size(0)}, at::kFloat)};
  const Tensor weights = Gate::apply(logits.cpu().contiguous(), task);
  return {task.ids.to(device), weights.to(device), task.dropped_share.to(device)};
}

Tensor expert_load(const Tensor& ids, std::int64_t n_experts) {
  return at::bincount(ids.reshape(-1) + 1, {}, n_experts + 1).narrow(0, 1, n_experts);
}

}  // namespace moebox::train

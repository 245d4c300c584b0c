// The grouped experts, and the loss with the head in it.
#include "train/cpu_compute.h"
#include "train/cpu_operators.h"
#include "train/ops/cross_entropy.h"
#include "train/ops/experts.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ExpertsOf : torch::autograd::Function<ExpertsOf> {
  static Tensor forward(AutogradContext* context, const Tensor& any_x, const Tensor& any_ids, const Tensor& any_weights,
                        const Tensor& gate_up, const Tensor& down) {
    const Tensor x = any_x.contiguous(), ids = any_ids.contiguous(), weights = any_weights.contiguous();
    const Tensor first = gate_up.to(x.scalar_type()).contiguous(), second = down.to(x.scalar_type()).contiguous();
    const train_ops::ExpertPlan plan = plan_of(ids, gate_up);
    const Tensor saved = at::empty({plan.n_rows(), gate_up.size(1)}, x.options()), out = at::empty_like(x);
    for_type_of(x, [&]<class T>(T) {
      train_ops::experts_forward<T>(cpu_compute(), plan, matrices<T>(first, second), rows_of<const T>(x),
                                    elements<float>(weights), elements<T>(saved), rows_of<T>(out));
    });
    context->save_for_backward({x, ids, weights, first, second, saved});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list s = context->get_saved_variables();
    const Tensor &x = s[0], &ids = s[1], &weights = s[2], &gate_up = s[3], &down = s[4];
    const Tensor d_out = gradients[0].contiguous(), dx = at::empty_like(x), d_weights = at::empty_like(weights);
    const Tensor d_gate_up = at::empty(gate_up.sizes(), weights.options());
    const Tensor d_down = at::empty(down.sizes(), weights.options());
    const train_ops::ExpertPlan plan = plan_of(ids, gate_up);
    for_type_of(x, [&]<class T>(T) {
      train_ops::experts_backward<T>(
          cpu_compute(), plan, matrices<T>(gate_up, down), rows_of<const T>(x), elements<float>(weights),
          elements<T>(s[5]), rows_of<const T>(d_out),
          {rows_of<T>(dx), elements<float>(d_weights), elements<float>(d_gate_up), elements<float>(d_down), false});
    });
    return {dx, {}, d_weights, d_gate_up, d_down};
  }

  static train_ops::ExpertPlan plan_of(const Tensor& ids, const Tensor& gate_up) {
    return train_ops::plan_experts(ids.const_data_ptr<std::int64_t>(), ids.size(0), ids.size(1), gate_up.size(0));
  }
  template <class T>
  static train_ops::ExpertWeights<T> matrices(const Tensor& gate_up, const Tensor& down) {
    return {gate_up.size(2), down.size(2), elements<T>(gate_up), elements<T>(down)};
  }
};

struct CrossEntropyOf : torch::autograd::Function<CrossEntropyOf> {
  static Tensor forward(AutogradContext* context, const Tensor& any_rows, const Tensor& head, const Tensor& any_targets,
                        std::int64_t chunk, bool needs_gradients) {
    const Tensor rows = any_rows.contiguous(), targets = any_targets.contiguous();
    const Tensor matrix = head.to(rows.scalar_type()).contiguous();
    Tensor d_rows, d_head;
    if (needs_gradients) {
      d_rows = at::empty_like(rows);
      d_head = at::empty(head.sizes(), head.options().dtype(at::kFloat));
    }
    train_ops::CrossEntropyLoss loss;
    for_type_of(rows, [&]<class T>(T) {
      train_ops::CrossEntropy<T> operands{rows_of<const T>(rows), rows_of<const T>(matrix),
                                          targets.const_data_ptr<std::int64_t>()};
      operands.chunk = chunk;
      loss =
          train_ops::cross_entropy(cpu_compute(), operands, needs_gradients ? rows_of<T>(d_rows) : train_ops::Rows<T>(),
                                   needs_gradients ? elements<float>(d_head) : nullptr, false);
    });
    context->save_for_backward({d_rows, d_head});
    return at::scalar_tensor(loss.loss, at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    // The factor has no dimension: it is not rounded to the rows' type before it multiplies.
    return {saved[0] * gradients[0], saved[1] * gradients[0], {}, {}, {}};
  }
};

}  // namespace

Tensor cpu_experts(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up,
                   const Tensor& down) {
  return ExpertsOf::apply(x, ids, weights, gate_up, down);
}

Tensor cpu_cross_entropy(const Tensor& rows, const Tensor& head, const Tensor& targets, std::int64_t chunk) {
  const bool needs_gradients = at::GradMode::is_enabled() && (rows.requires_grad() || head.requires_grad());
  return CrossEntropyOf::apply(rows, head, targets, chunk, needs_gradients);
}

}  // namespace moebox::train

#include "train/cross_entropy.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "train/cpu_compute.h"
#include "train/cpu_operators.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows and targets of the tokens that have one.
struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& head, const Tensor& targets,
                        std::int64_t chunk, bool needs_gradients) {
    const Tensor matrix = head.to(rows.scalar_type());
    const std::int64_t n_rows = rows.size(0);
    Tensor rows_gradient, head_gradient;
    if (needs_gradients) {
      rows_gradient = at::empty_like(rows);
      head_gradient = at::zeros_like(head, head.options().dtype(at::kFloat));
    }
    Tensor sum = at::zeros({}, rows.options().dtype(at::kDouble));
    for (std::int64_t first = 0; first < n_rows; first += chunk) {
      const std::int64_t n = std::min(chunk, n_rows - first);
      const Tensor part = rows.narrow(0, first, n), target = targets.narrow(0, first, n).unsqueeze(1);
      Tensor logits = at::mm(part, matrix.t()).to(at::kFloat);
      const Tensor normalizer = at::logsumexp(logits, {1}, true);
      sum += (normalizer - logits.gather(1, target)).sum(at::kDouble);
      if (!needs_gradients) continue;
      // In place of the logits: softmax, less one at the target.
      logits.sub_(normalizer).exp_().scatter_add_(1, target, at::full({n, 1}, -1.0, logits.options()));
      const Tensor gradient = logits.to(rows.scalar_type());
      Tensor rows_part = rows_gradient.narrow(0, first, n);
      at::mm_out(rows_part, gradient, matrix);
      if (rows.scalar_type() == at::kFloat)
        head_gradient.addmm_(gradient.t(), part);
      else
        head_gradient.add_(at::mm(gradient.t(), part));
    }
    context->save_for_backward({rows_gradient, head_gradient});
    return sum.to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& scale = gradients[0];
    return {saved[0] * scale.to(saved[0].scalar_type()), saved[1] * scale, {}, {}, {}};
  }
};

}  // namespace

Tensor cross_entropy(const Tensor& rows, const Tensor& head, const Tensor& targets, std::int64_t chunk) {
  const Tensor chosen = targets.ne(no_target).nonzero().squeeze(1);
  if (chosen.size(0) == 0) refuse_empty_mask();
  const Tensor wanted = targets.index_select(0, chosen);
  const auto lowest = wanted.min().item<std::int64_t>(), highest = wanted.max().item<std::int64_t>();
  if (lowest < 0 || highest >= head.size(0))
    throw Error(ErrorKind::invalid_argument,
                "expected targets of a vocabulary of " + std::to_string(head.size(0)) + ", found " +
                    std::to_string(lowest < 0 ? lowest : highest),
                "targets", "the data were made with another tokenizer");
  if (is_for_cpu_operators(rows)) return cpu_cross_entropy(rows.index_select(0, chosen), head, wanted, chunk);
  const bool needs_gradients = at::GradMode::is_enabled() && (rows.requires_grad() || head.requires_grad());
  return CrossEntropy::apply(rows.index_select(0, chosen), head, wanted, chunk, needs_gradients);
}

void refuse_empty_mask() {
  throw Error(ErrorKind::invalid_argument, "no token of the batch has a target: there is nothing to learn from it",
              "loss mask", "look at what the data masks: an assistant's turn may be missing, or cut off");
}

}  // namespace moebox::train

#include "train/tensor_ranks.h"

#include <fmt/core.h>

#include "base/error.h"
#include "train/cross_entropy.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor sum_of(const Tensor& x, World& ranks) {
  const Tensor sum = x.to(at::kCPU, at::kFloat, false, /*copy=*/true).contiguous();
  ranks.add_up(sum);
  return sum.to(x.device(), x.scalar_type());
}

struct HeldRanks : torch::CustomClassHolder {
  explicit HeldRanks(World& held) : ranks(held) {}
  World& ranks;
};

struct AddUp : torch::autograd::Function<AddUp> {
  static Tensor forward(AutogradContext* context, const Tensor& x, World& ranks) {
    context->saved_data["ranks"] = c10::IValue::make_capsule(c10::make_intrusive<HeldRanks>(ranks));
    return sum_of(x, ranks);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto held = context->saved_data["ranks"].toCapsule();
    return {sum_of(gradients[0], static_cast<const HeldRanks&>(*held).ranks), {}};
  }
};

}  // namespace

Tensor share_of(const Tensor& whole, std::int64_t dimension, const World* ranks, std::int64_t n_blocks) {
  if (ranks == nullptr || ranks->size() == 1 || !whole.defined()) return whole;
  const std::int64_t n = whole.size(dimension) / n_blocks / ranks->size();
  return whole.unflatten(dimension, {n_blocks, -1})
      .narrow(dimension + 1, ranks->rank() * n, n)
      .flatten(dimension, dimension + 1);
}

Tensor add_up_shares(const Tensor& x, World* ranks) {
  return ranks == nullptr || ranks->size() == 1 ? x : AddUp::apply(x, *ranks);
}

void check_shares(const ModelOptions& options, int n, std::string_view what) {
  const int n_ranks = options.tensor ? options.tensor->size() : 1;
  if (n % n_ranks != 0)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a number that divides the model's {} {}, found {}", n, what, n_ranks),
                "parallel.tensor");
}

Batch with_own_targets(const Batch& batch, const World& ranks) {
  if (ranks.size() == 1) return batch;
  // Every so manieth token, so that all have as many wherever a mask has taken targets away.
  const Tensor turns = at::arange(batch.targets.numel(), batch.targets.options()).remainder(ranks.size());
  const Tensor own = turns.eq(ranks.rank()).reshape(batch.targets.sizes());
  return {batch.tokens, at::where(own, batch.targets, at::full_like(batch.targets, no_target)), batch.documents};
}

}  // namespace moebox::train

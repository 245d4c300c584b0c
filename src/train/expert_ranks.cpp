#include "train/expert_ranks.h"

#include <utility>
#include <vector>

#include "train/experts.h"

namespace moebox::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Counts = std::vector<std::int64_t>;

/// How many rows go to each rank, and come from it.
struct Exchange {
  World& ranks;
  Counts sent, received;

  Exchange back() const { return {ranks, received, sent}; }
};

struct HeldExchange : torch::CustomClassHolder {
  explicit HeldExchange(Exchange held) : exchange(std::move(held)) {}
  const Exchange exchange;
};

/// Rows to other ranks; their gradients come back the same way.
struct RowsOfRanks : torch::autograd::Function<RowsOfRanks> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Exchange& exchange) {
    context->saved_data["back"] = c10::IValue::make_capsule(c10::make_intrusive<HeldExchange>(exchange.back()));
    return exchange.ranks.exchange_rows(x, exchange.sent, exchange.received);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto held = context->saved_data["back"].toCapsule();
    const Exchange& back = static_cast<const HeldExchange&>(*held).exchange;
    return {back.ranks.exchange_rows(gradients[0].contiguous(), back.sent, back.received), {}};
  }
};

Counts numbers_of(const Tensor& x) {
  const auto* first = x.const_data_ptr<std::int64_t>();
  return {first, first + x.numel()};
}

Exchange agree(World& ranks, const Tensor& counts) {
  const Counts one_each(static_cast<std::size_t>(ranks.size()), 1);
  const Tensor received = ranks.exchange_rows(counts.unsqueeze(1), one_each, one_each);
  return {ranks, numbers_of(counts), numbers_of(received)};
}

}  // namespace

Tensor experts_of_ranks(const Tensor& x, const Tensor& ids, const Tensor& weights, const Tensor& gate_up,
                        const Tensor& down, World& ranks) {
  const std::int64_t n_held = gate_up.size(0), top_k = ids.size(1);
  // The slots (token, place among its experts), sorted by expert and so by rank; those without one come first.
  const Tensor flat = ids.reshape(-1);
  const std::int64_t n_without = flat.lt(0).sum().item<std::int64_t>();
  const Tensor slots = flat.argsort(true, 0, false).narrow(0, n_without, flat.size(0) - n_without);
  const Tensor expert = flat.index_select(0, slots), token = at::floor_divide(slots, top_k);
  const Tensor counts = at::bincount(at::floor_divide(expert, n_held), {}, ranks.size());

  const Exchange exchange = agree(ranks, counts);
  const Tensor rows = RowsOfRanks::apply(x.index_select(0, token), exchange);
  const Tensor factors = RowsOfRanks::apply(weights.reshape({-1, 1}).index_select(0, slots), exchange);
  const Tensor own = ranks.exchange_rows(at::remainder(expert, n_held).unsqueeze(1), exchange.sent, exchange.received);
  const Tensor computed = experts(rows, own, factors, gate_up, down);
  const Tensor back = RowsOfRanks::apply(computed, exchange.back());
  const Tensor sum = at::zeros({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
  return sum.index_add(0, token, back.to(at::kFloat)).to(x.scalar_type());
}

}  // namespace moebox::train

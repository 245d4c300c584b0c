#include "train/expert_placement.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {
namespace {

using Numbers = std::vector<std::int64_t>;
constexpr double least_gain = 0.03;

std::int64_t experts_of_a_rank(const Numbers& places, int n_ranks) {
  return static_cast<std::int64_t>(places.size()) / n_ranks;
}

Numbers tokens_of_ranks(const Numbers& places, const Numbers& tokens, int n_ranks) {
  const std::int64_t n_held = experts_of_a_rank(places, n_ranks);
  Numbers sums(static_cast<std::size_t>(n_ranks));
  for (std::size_t expert = 0; expert < places.size(); ++expert)
    sums[static_cast<std::size_t>(places[expert] / n_held)] += tokens[expert];
  return sums;
}

struct Exchanged {
  std::size_t busy, other;  // experts
};

/// The exchange after which the busier one of both ranks has least; nothing: none helps. Of equal ones the first.
std::optional<Exchanged> best_exchange(const Numbers& places, const Numbers& tokens, const Numbers& sums,
                                       std::int64_t n_held) {
  const auto busiest = std::ranges::max_element(sums) - sums.begin();
  std::int64_t least = sums[static_cast<std::size_t>(busiest)];
  std::optional<Exchanged> best;
  for (std::size_t busy = 0; busy < places.size(); ++busy) {
    if (places[busy] / n_held != busiest) continue;
    for (std::size_t other = 0; other < places.size(); ++other) {
      const std::int64_t fewer = tokens[busy] - tokens[other];
      if (fewer <= 0) continue;  // those of the busiest rank itself change nothing
      const auto rank = static_cast<std::size_t>(places[other] / n_held);
      if (rank == static_cast<std::size_t>(busiest)) continue;
      const std::int64_t most = std::max(sums[static_cast<std::size_t>(busiest)] - fewer, sums[rank] + fewer);
      if (most >= least) continue;
      least = most;
      best = {busy, other};
    }
  }
  return best;
}

/// The rows of a stack of experts go to their new places.
void move_rows(const Tensor& stack, const Numbers& from, const Numbers& to, World& ranks) {
  const at::NoGradGuard no_gradient;
  const std::int64_t n_held = stack.size(0), rank = ranks.rank();
  Numbers expert_at(to.size()), rows, slots;
  for (std::size_t expert = 0; expert < to.size(); ++expert)
    expert_at[static_cast<std::size_t>(to[expert])] = static_cast<std::int64_t>(expert);
  // In the order of the new places, both where they leave and where they arrive.
  Numbers sent(static_cast<std::size_t>(ranks.size())), received(sent.size());
  std::vector<Numbers> arriving(sent.size());
  for (std::size_t place = 0; place < to.size(); ++place) {
    const std::int64_t old = from[static_cast<std::size_t>(expert_at[place])];
    const auto there = static_cast<std::int64_t>(place);
    if (old / n_held == rank) {
      rows.push_back(old % n_held);
      ++sent[static_cast<std::size_t>(there / n_held)];
    }
    if (there / n_held == rank) arriving[static_cast<std::size_t>(old / n_held)].push_back(there % n_held);
  }
  for (std::size_t source = 0; source < arriving.size(); ++source) {
    received[source] = static_cast<std::int64_t>(arriving[source].size());
    slots.insert(slots.end(), arriving[source].begin(), arriving[source].end());
  }
  const auto indices = [&](const Numbers& numbers) {
    const Tensor values = at::empty({static_cast<std::int64_t>(numbers.size())}, at::kLong);
    std::ranges::copy(numbers, values.mutable_data_ptr<std::int64_t>());
    return values.to(stack.device());
  };
  const Tensor leaving = stack.detach().reshape({n_held, -1}).index_select(0, indices(rows)).cpu();
  const Tensor came = ranks.exchange_rows(leaving, sent, received).to(stack.device());
  stack.detach().index_copy_(0, indices(slots), came.reshape(stack.sizes()));
}

}  // namespace

double busiest_rank(const Numbers& places, const Numbers& tokens, int n_ranks) {
  const Numbers sums = tokens_of_ranks(places, tokens, n_ranks);
  const std::int64_t all = std::accumulate(sums.begin(), sums.end(), std::int64_t{0});
  if (all == 0) return 1.0;
  return static_cast<double>(*std::ranges::max_element(sums)) * n_ranks / static_cast<double>(all);
}

Numbers place_by_load(const Numbers& places, const Numbers& tokens, int n_ranks) {
  const std::int64_t n_held = experts_of_a_rank(places, n_ranks);
  Numbers found = places, sums = tokens_of_ranks(places, tokens, n_ranks);
  const std::int64_t before = *std::ranges::max_element(sums);
  // Each exchange leaves the busiest rank with less and makes none as busy: this ends.
  while (const auto exchange = best_exchange(found, tokens, sums, n_held)) {
    std::swap(found[exchange->busy], found[exchange->other]);
    sums = tokens_of_ranks(found, tokens, n_ranks);
  }
  const std::int64_t saved = before - *std::ranges::max_element(sums);
  return static_cast<double>(saved) >= least_gain * static_cast<double>(before) && saved > 0 ? found : places;
}

ExpertPlacement::ExpertPlacement(const WeightSet& weights, std::shared_ptr<World> ranks)
    : weights_(weights), ranks_(std::move(ranks)) {
  set_places({});
}

double ExpertPlacement::add(const std::vector<LayerLoad>& loads) {
  double worst = 1.0;
  for (const LayerLoad& load : loads) {
    const auto found = places_.layers.find(load.layer);
    if (found == places_.layers.end()) continue;
    auto& [places, tokens] = found->second;
    for (std::size_t expert = 0; expert < tokens.size(); ++expert) tokens[expert] += load.tokens[expert];
    worst = std::max(worst, busiest_rank(places, load.tokens, places_.n_ranks));
  }
  return worst;
}

std::vector<PlacedLayer> ExpertPlacement::place(const Optimizer& optimizer) {
  std::vector<PlacedLayer> placed;
  for (auto& [layer, experts] : places_.layers) {
    const Numbers to = place_by_load(experts.places, experts.tokens, places_.n_ranks);
    if (to != experts.places) {
      PlacedLayer what{layer, 0, busiest_rank(experts.places, experts.tokens, places_.n_ranks),
                       busiest_rank(to, experts.tokens, places_.n_ranks)};
      for (std::size_t expert = 0; expert < to.size(); ++expert) what.n_moved += to[expert] != experts.places[expert];
      move(layer, to, optimizer);
      experts.places = to;
      placed.push_back(what);
    }
    std::ranges::fill(experts.tokens, 0);
  }
  return placed;
}

void ExpertPlacement::move(int layer, const Numbers& to, const Optimizer& optimizer) {
  const Numbers& from = places_.layers.at(layer).places;
  for (const Weight& weight : weights_.all()) {
    if (!weight.is_split() || weight.parts.front().layer != layer) continue;
    move_rows(weight.values, from, to, *ranks_);
    // Ranks that hold a layer together own the moments of the same stacks: all of them are here, or none.
    for (const Tensor& moments : optimizer.moments_of(weight.values)) move_rows(moments, from, to, *ranks_);
  }
  weights_.set_places(layer, to);
}

void ExpertPlacement::set_places(const ExpertPlaces& places) {
  const bool fits = places.n_ranks == ranks_->size();
  places_ = {.n_ranks = ranks_->size()};
  for (const Weight& weight : weights_.all()) {
    if (!weight.is_split()) continue;
    const int layer = weight.parts.front().layer;
    if (places_.layers.contains(layer)) continue;
    const auto n_experts = static_cast<std::size_t>(weight.n_experts);
    Numbers in_order(n_experts);
    std::iota(in_order.begin(), in_order.end(), std::int64_t{0});
    ExpertPlaces::Layer experts{in_order, Numbers(n_experts)};
    if (const auto found = places.layers.find(layer); fits && found != places.layers.end()) {
      experts = found->second;
      if (experts.tokens.size() != n_experts || std::ranges::min(experts.tokens) < 0 ||
          !std::ranges::is_permutation(experts.places, in_order))
        throw Error(ErrorKind::invalid_file, fmt::format("expected a place for each of {} experts", n_experts),
                    fmt::format("the checkpoint's places of experts, layer {}", layer));
    }
    weights_.set_places(layer, experts.places);
    places_.layers.emplace(layer, std::move(experts));
  }
}

}  // namespace moebox::train

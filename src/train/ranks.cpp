#include "train/ranks.h"

#include <vector>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {
namespace {

void check_mix(int size, const RankMix& mix) {
  const auto refuse = [](const char* key, int n_processes, int found) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a number that divides the {} processes, found {}", n_processes, found), key);
  };
  if (size % mix.tensor != 0) refuse("parallel.tensor", size, mix.tensor);
  if (size % mix.expert != 0) refuse("parallel.expert", size, mix.expert);
  if (size % (mix.tensor * mix.expert) != 0)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("parallel.tensor times parallel.expert is {}, which does not divide the {} processes",
                            mix.tensor * mix.expert, size),
                "parallel.expert");
}

}  // namespace

Ranks arrange_ranks(std::shared_ptr<World> all, const RankMix& mix) {
  const int size = all->size();
  check_mix(size, mix);
  // A rank is (which set of experts' holders, which of the holders, which of those that compute together).
  const auto tensor = [&](int rank) { return rank % mix.tensor; };
  const auto holder = [&](int rank) { return rank / mix.tensor % mix.expert; };
  const auto set = [&](int rank) { return rank / (mix.tensor * mix.expert); };
  const int own = all->rank();
  std::vector<int> neighbours, holders, alike;
  for (int i = 0; i < size; ++i) {
    const bool same_set = set(i) == set(own), same_holder = holder(i) == holder(own);
    if (same_set && same_holder) neighbours.push_back(i);
    if (same_set && tensor(i) == tensor(own)) holders.push_back(i);
    if (same_holder) alike.push_back(i);
  }
  Ranks ranks;
  if (mix.tensor > 1) ranks.tensor = all->part(neighbours);
  if (mix.expert > 1) ranks.experts = all->part(holders);
  ranks.replicas = mix.expert > 1 ? all->part(alike) : all;
  ranks.all = std::move(all);
  return ranks;
}

}  // namespace moebox::train

#include "train/whole_model.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {
namespace {

constexpr std::int64_t digest_bytes = static_cast<std::int64_t>(sizeof(data::Digest));

/// The rank whose copy is taken: of experts the first one that holds them, of everything else rank 0.
bool speaks_for(const std::string& name, const WeightSet& weights, const Ranks& ranks) {
  const bool is_expert = weights.find(name).second->expert >= 0;
  return is_expert ? ranks.is_with_first() : ranks.all->is_first();
}

}  // namespace

std::string digest_of_ranks(const WeightSet& weights, const Ranks& ranks) {
  const std::vector<PartDigest> own = weights.part_digests();
  if (ranks.all->size() == 1) return digest_of(own);
  const std::vector<std::string> names = weights.all_names();
  const Tensor table = at::zeros({static_cast<std::int64_t>(names.size()), digest_bytes}, at::kByte);
  auto* bytes = table.mutable_data_ptr<std::uint8_t>();
  const auto row_of = [&](const std::string& name) {
    return bytes + (std::ranges::lower_bound(names, name) - names.begin()) * digest_bytes;
  };
  for (const PartDigest& part : own)
    if (!weights.is_split() ? ranks.all->is_first() : speaks_for(part.name, weights, ranks))
      std::memcpy(row_of(part.name), part.digest.data(), sizeof(data::Digest));
  ranks.all->add_up(table);  // one rank has each row, the others zeros
  std::vector<PartDigest> all;
  for (const std::string& name : names) {
    all.push_back({name, {}});
    std::memcpy(all.back().digest.data(), row_of(name), sizeof(data::Digest));
  }
  for (const PartDigest& part : own)
    if (std::memcmp(row_of(part.name), part.digest.data(), sizeof(data::Digest)) != 0)
      throw Error(ErrorKind::internal, "this process's " + part.name + " is not the others'",
                  fmt::format("rank {} of {}", ranks.all->rank(), ranks.all->size()),
                  "a machine that computes wrongly does this, too; --resume goes on from the last checkpoint");
  return digest_of(all);
}

std::unique_ptr<Model> gather_model(const Model& model, const Ranks& ranks) {
  const at::NoGradGuard no_gradient;
  std::unique_ptr<Model> whole;
  if (ranks.all->is_first()) {
    const nlohmann::json config = model.config();
    whole = make_model(Checkpoint::describe(config, "the model"),
                       {.further_tokens = config.value("num_nextn_predict_layers", 0) > 0});
  }
  for (std::size_t i = 0; i < model.weights().all().size(); ++i) {
    const Weight& held = model.weights().all()[i];
    const Tensor to = whole ? whole->weights().all().at(i).values.detach() : Tensor();
    if (!held.is_split()) {
      if (whole) to.copy_(held.values.detach());
      continue;
    }
    const std::int64_t n = held.values.size(0);
    const Tensor places = model.weights().places(held.parts.front().layer).cpu();
    const auto* place = places.const_data_ptr<std::int64_t>();
    for (int rank = 0; rank < ranks.experts->size(); ++rank) {
      const Tensor values = held.values.detach().clone();
      ranks.experts->start_spreading(values, rank)->wait();
      for (std::int64_t expert = 0; whole && expert < held.n_experts; ++expert)
        if (place[expert] / n == rank) to[expert].copy_(values[place[expert] % n]);
    }
  }
  return whole;
}

}  // namespace moebox::train

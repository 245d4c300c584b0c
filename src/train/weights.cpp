#include "train/weights.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/anonymous_memory.h"
#include "base/checked.h"
#include "base/error.h"
#include "data/digest.h"

namespace moebox::train {
namespace {

WeightKind kind_of(std::string_view role) {
  if (role == "router_bias") return WeightKind::statistic;
  if (role.ends_with("_norm")) return WeightKind::norm;
  if (role.ends_with("_bias")) return WeightKind::bias;
  return WeightKind::matrix;
}

}  // namespace

Tensor part_of(const Tensor& whole, const WeightPart& part) {
  const Tensor matrix = part.expert < 0 ? whole : whole.select(0, part.slot);
  return matrix.narrow(0, part.first_row, part.shape.front());
}

void add_parts(std::vector<NamedTensor>& to, std::string_view kind, const Weight& weight, const Tensor& whole) {
  for (const WeightPart& part : weight.parts)
    to.push_back({std::string(kind) + "/" + part.name, part_of(whole.detach(), part)});
}

std::string key_of(const Weight& weight) {
  const WeightPart& part = weight.parts.front();
  return fmt::format("{}.{}", part.role, part.layer);
}

WeightSet::WeightSet(std::vector<TensorRule> rules, const at::Device& device, const ExpertSplit& split)
    : rules_(std::move(rules)), device_(device), split_(split), available_bytes_(available_memory_bytes()) {}

const TensorRule& WeightSet::rule(std::string_view role) const {
  const auto found =
      std::find_if(rules_.begin(), rules_.end(), [&](const TensorRule& rule) { return rule.role == role; });
  if (found == rules_.end()) throw Error(ErrorKind::internal, "no rule for the tensor role " + std::string(role));
  return *found;
}

Tensor WeightSet::add(std::initializer_list<std::string_view> roles, int layer) { return add_weight(roles, layer, 0); }

Tensor WeightSet::add_experts(std::initializer_list<std::string_view> roles, int layer, int n_experts) {
  return add_weight(roles, layer, n_experts);
}

void WeightSet::take_memory(const std::vector<std::int64_t>& shape) {
  std::uint64_t n_bytes = sizeof(float);
  for (const std::int64_t size : shape) n_bytes = checked_mul(n_bytes, static_cast<std::uint64_t>(size), "weights");
  bytes_ += n_bytes;
  // Weights and gradients: the least that is needed. Memory that is not there would be missed when it is first used.
  if (device_.is_cpu() && bytes_ > available_bytes_ / 2)
    throw Error(ErrorKind::resource,
                fmt::format("the model does not fit into memory: its weights and gradients take more than {:.1f} GB, "
                            "and {:.1f} GB are available",
                            2e-9 * static_cast<double>(bytes_), 1e-9 * static_cast<double>(available_bytes_)),
                "model", "take a smaller model, or a machine with more memory");
}

Tensor WeightSet::add_weight(std::initializer_list<std::string_view> roles, int layer, int n_experts) {
  Weight weight;
  weight.kind = kind_of(*roles.begin());
  weight.n_experts = n_experts;
  if (n_experts % split_.n_ranks != 0)
    throw Error(
        ErrorKind::invalid_argument,
        fmt::format("expected a number that divides the layer's {} experts, found {}", n_experts, split_.n_ranks),
        "parallel.expert");
  const int n_held = n_experts / split_.n_ranks, first_held = split_.rank * n_held;
  std::int64_t rows = 0;
  std::vector<std::int64_t> shape;
  for (const std::string_view role : roles) {
    const TensorRule& wanted = rule(role);
    if (!wanted.present) return {};
    for (int expert = n_experts > 0 ? 0 : -1; expert < n_experts; ++expert) {
      const std::string name = tensor_name(wanted.hf, layer, expert);
      names_.push_back(name);
      const int slot = expert < 0 ? -1 : expert - first_held;
      const WeightPart part{name, wanted.role, layer, expert, slot, rows, wanted.shape};
      if (expert < 0 || (slot >= 0 && slot < n_held)) weight.parts.push_back(part);
      if (n_held < n_experts) expert_parts_[weights_.size()].push_back(part);
      if (n_experts == 0) break;
    }
    rows += wanted.shape.front();
    shape = wanted.shape;
  }
  shape.front() = rows;
  if (n_experts > 0) shape.insert(shape.begin(), n_held);
  take_memory(shape);
  weight.values = at::empty(shape, at::TensorOptions(device_).dtype(at::kFloat));
  if (weight.kind != WeightKind::statistic) weight.values.requires_grad_(true);
  if (n_held < n_experts && !places_.contains(layer))
    places_[layer] = at::arange(n_experts, at::TensorOptions(device_).dtype(at::kLong));
  weights_.push_back(std::move(weight));
  return weights_.back().values;
}

Tensor WeightSet::places(int layer) const {
  const auto found = places_.find(layer);
  return found == places_.end() ? Tensor() : found->second;
}

void WeightSet::set_places(int layer, const std::vector<std::int64_t>& places) const {
  const Tensor values = at::empty({static_cast<std::int64_t>(places.size())}, at::kLong);
  std::ranges::copy(places, values.mutable_data_ptr<std::int64_t>());
  places_.at(layer).copy_(values);
  for (const auto& [index, parts] : expert_parts_) {
    if (parts.front().layer != layer) continue;
    const Weight& weight = weights_[index];
    const std::int64_t n_held = weight.values.size(0);
    std::vector<WeightPart> held;
    for (const WeightPart& part : parts) {
      const std::int64_t place = places.at(static_cast<std::size_t>(part.expert));
      if (place / n_held != split_.rank) continue;
      held.push_back(part);
      held.back().slot = static_cast<int>(place % n_held);
    }
    weight.parts.replace(std::move(held));
  }
}

std::vector<Tensor> WeightSet::trained() const {
  std::vector<Tensor> trained;
  for (const Weight& weight : weights_)
    if (weight.kind != WeightKind::statistic) trained.push_back(weight.values);
  return trained;
}

std::int64_t WeightSet::n_parameters() const {
  std::int64_t n = 0;
  for (const Weight& weight : weights_)
    n += weight.n_experts > 0 ? weight.values[0].numel() * weight.n_experts : weight.values.numel();
  return n;
}

bool WeightSet::is_split() const {
  return std::ranges::any_of(weights_, [](const Weight& weight) { return weight.is_split(); });
}

std::vector<std::string> WeightSet::all_names() const {
  std::vector<std::string> names = names_;
  std::ranges::sort(names);
  return names;
}

std::vector<PartDigest> WeightSet::part_digests() const {
  constexpr std::size_t piece_bytes = std::size_t{1} << 20;
  std::vector<NamedTensor> parts;
  for (const Weight& weight : weights_) add_parts(parts, "weight", weight, weight.values);
  std::ranges::sort(parts, {}, &NamedTensor::name);
  std::vector<std::span<const std::byte>> pieces;
  for (NamedTensor& part : parts) {
    part.values = part.values.cpu().contiguous();
    const std::span bytes(static_cast<const std::byte*>(part.values.const_data_ptr()), part.values.nbytes());
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes)
      pieces.push_back(bytes.subspan(at, std::min(piece_bytes, bytes.size() - at)));
  }
  std::vector<data::Digest> digests(pieces.size());
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
      digests[i] = data::digest_of(pieces[i]);
  });
  std::vector<PartDigest> found;
  auto piece = digests.begin();
  for (const NamedTensor& part : parts) {
    data::Hasher of_part;
    for (std::size_t at = 0; at < part.values.nbytes(); at += piece_bytes)
      of_part.add(std::as_bytes(std::span(*piece++)));
    found.push_back({part.name.substr(part.name.find('/') + 1), of_part.finish()});
  }
  return found;
}

std::string digest_of(const std::vector<PartDigest>& parts) {
  data::Hasher whole;
  for (const PartDigest& part : parts) whole.add(part.name).add(std::as_bytes(std::span(part.digest)));
  return data::hex(whole.finish());
}

std::int64_t WeightSet::n_active(int n_layers, int top_k, bool tied_embeddings) const {
  std::int64_t n = 0;
  for (const Weight& weight : weights_) {
    const WeightPart& part = weight.parts.front();
    if (part.layer >= n_layers || (part.role == "embedding" && !tied_embeddings)) continue;
    n += part.expert < 0 ? weight.values.numel() : weight.values[0].numel() * top_k;
  }
  return n;
}

std::pair<const Weight*, const WeightPart*> WeightSet::find(std::string_view name) const {
  for (const Weight& weight : weights_)
    for (const WeightPart& part : weight.parts)
      if (part.name == name) return {&weight, &part};
  throw Error(ErrorKind::not_found, "the model has no weight of this name", std::string(name));
}

}  // namespace moebox::train

#include <algorithm>

#include "runtime/request.h"

namespace moebox {

MoeUsage MoeUsage::none_of(const ModelInfo& info) {
  MoeUsage usage;
  if (info.moe.n_layers == 0) return usage;
  usage.model = info.moe;
  usage.model_parameters = info.n_parameters;
  usage.histogram.resize(static_cast<std::size_t>(info.moe.top_k) + 1);
  return usage;
}

void MoeUsage::add(std::span<const std::int32_t> chosen, float dropped_share) noexcept {
  ++histogram[static_cast<std::size_t>(std::count_if(chosen.begin(), chosen.end(), [](int e) { return e >= 0; }))];
  dropped_mass += static_cast<double>(dropped_share);
}

std::int64_t MoeUsage::n_choices() const noexcept {
  std::int64_t sum = 0;
  for (const std::int64_t count : histogram) sum += count;
  return sum;
}

std::int64_t MoeUsage::n_experts() const noexcept {
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < histogram.size(); ++k) sum += static_cast<std::int64_t>(k) * histogram[k];
  return sum;
}

double MoeUsage::experts_per_token() const noexcept {
  const std::int64_t choices = n_choices();
  return choices == 0 ? 0 : static_cast<double>(n_experts()) / static_cast<double>(choices);
}

double MoeUsage::active_parameters() const noexcept {
  if (model_parameters == 0) return 0;
  const double idle = static_cast<double>(model.n_layers) * static_cast<double>(model.parameters_per_expert) *
                      (model.n_experts - experts_per_token());
  return 1 - idle / static_cast<double>(model_parameters);
}

double MoeUsage::dropped_share() const noexcept {
  const std::int64_t choices = n_choices();
  return choices == 0 ? 0 : dropped_mass / static_cast<double>(choices);
}

std::int64_t MoeUsage::saved_against_own_k() const noexcept {
  return (n_choices() * model.top_k - n_experts()) * model.parameters_per_expert;
}

std::int64_t MoeUsage::saved_against_dense() const noexcept {
  return (n_choices() * model.n_experts - n_experts()) * model.parameters_per_expert;
}

MoeUsage& MoeUsage::operator+=(const MoeUsage& other) {
  if (other.model.n_layers == 0) return *this;
  model = other.model;
  model_parameters = other.model_parameters;
  histogram.resize(other.histogram.size());
  for (std::size_t k = 0; k < histogram.size(); ++k) histogram[k] += other.histogram[k];
  dropped_mass += other.dropped_mass;
  return *this;
}

}  // namespace moebox

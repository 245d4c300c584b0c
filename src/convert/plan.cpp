#include "convert/plan.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox {

PlanBuilder::PlanBuilder(const Checkpoint& checkpoint, std::vector<TensorRule> stored, std::vector<TensorRule> names,
                         std::vector<std::string> ignored)
    : find_(checkpoint, std::move(stored), std::move(ignored)), names_(std::move(names)) {}

const TensorRule& PlanBuilder::name_rule(std::string_view role) const {
  const auto found =
      std::find_if(names_.begin(), names_.end(), [&](const TensorRule& rule) { return rule.role == role; });
  if (found == names_.end() || found->gguf.empty())
    throw Error(ErrorKind::internal, "no name in GGUF for the tensor role " + std::string(role));
  return *found;
}

StoredPart PlanBuilder::with_scales(const TensorView& view) {
  return {view, view.dtype == DType::f8_e4m3 ? &find_.block_scales(view) : nullptr};
}

StoredPart PlanBuilder::stored(std::string_view role, int layer) { return with_scales(find_.get(role, layer)); }

PlannedTensor& PlanBuilder::add_from(std::string_view role, int layer, TensorSource source) {
  const TensorRule& rule = name_rule(role);
  tensors_.push_back({tensor_name(rule.gguf, layer), rule.shape, std::move(source)});
  return tensors_.back();
}

PlannedTensor* PlanBuilder::add(std::string_view role, int layer) {
  const TensorView* view = find_.find(role, layer);
  if (view == nullptr) return nullptr;
  TensorSource source;
  source.parts.push_back(with_scales(*view));
  return &add_from(role, layer, std::move(source));
}

void PlanBuilder::add_experts(std::string_view role, int layer, int n_experts) {
  TensorSource source;
  for (const TensorView& view : find_.experts(role, layer, n_experts)) source.parts.push_back(with_scales(view));
  PlannedTensor& tensor = add_from(role, layer, std::move(source));
  tensor.shape.insert(tensor.shape.begin(), n_experts);
}

void PlanBuilder::add_values(std::string name, std::vector<float> values) {
  PlannedTensor tensor;
  tensor.name = std::move(name);
  tensor.shape = {static_cast<std::int64_t>(values.size())};
  tensor.source.values = std::move(values);
  tensors_.push_back(std::move(tensor));
}

std::vector<PlannedTensor> PlanBuilder::finish() {
  find_.finish();
  return std::move(tensors_);
}

void set_general(GgufHeader& header, const Checkpoint& checkpoint, std::string_view architecture) {
  header.set_string("general.architecture", architecture);
  header.set_string("general.type", "model");
  std::filesystem::path folder = std::filesystem::absolute(checkpoint.path()).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  header.set_string("general.name", folder.filename().string());
}

void check_rope_number(float value, RopeLimits limits, std::string_view gguf_key, std::string_view field) {
  if (limits.hold(value)) return;
  throw Error(
      ErrorKind::unsupported,
      fmt::format("GGUF's {} would be {:g}; its readers take {:g} to {:g}", gguf_key, value, limits.low, limits.high),
      fmt::format("config.json: {}", field));
}

void set_rope(GgufHeader& header, const RopeSpec& rope, std::string_view architecture) {
  const std::string prefix = std::string(architecture) + ".rope.";
  const auto unsupported = [](const std::string& what, const char* field) {
    throw Error(ErrorKind::unsupported, what, std::string("config.json: ") + field);
  };
  float theta = rope.theta;
  switch (rope.scaling) {
    case RopeScaling::none:
    case RopeScaling::llama3:  // divisors of the frequencies, in a tensor
      break;
    case RopeScaling::dynamic_ntk:
      unsupported("GGUF has no way to say dynamic RoPE scaling", "rope_type");
      break;
    case RopeScaling::ntk:
      theta = static_cast<float>(
          theta * std::pow(static_cast<double>(rope.factor), static_cast<double>(rope.dim) / (rope.dim - 2)));
      break;
    case RopeScaling::linear:
      header.set_string(prefix + "scaling.type", "linear");
      header.set_f32(prefix + "scaling.factor", rope.factor);
      break;
    case RopeScaling::yarn:
      if (!rope.truncate) unsupported("GGUF has no way to say a YaRN ramp with ends between dimensions", "truncate");
      header.set_string(prefix + "scaling.type", "yarn");
      header.set_f32(prefix + "scaling.factor", rope.factor);
      header.set_u32(prefix + "scaling.original_context_length", static_cast<std::uint32_t>(rope.original_context));
      header.set_f32(prefix + "scaling.yarn_beta_fast", rope.beta_fast);
      header.set_f32(prefix + "scaling.yarn_beta_slow", rope.beta_slow);
      break;
  }
  const bool scaled = rope.scaling == RopeScaling::linear || rope.scaling == RopeScaling::yarn;
  if (scaled) check_rope_number(rope.factor, rope_factor_limits, "rope.scaling.factor", "rope_scaling.factor");
  check_rope_number(theta, rope_theta_limits, "rope.freq_base", "rope_theta, rope_scaling");
  header.set_f32(prefix + "freq_base", theta);
  header.set_u32(prefix + "dimension_count", static_cast<std::uint32_t>(rope.dim));
}

std::vector<float> rope_divisors(const RopeSpec& rope) {
  if (rope.scaling != RopeScaling::llama3) return {};
  RopeSpec plain = rope;
  plain.scaling = RopeScaling::none;
  const std::vector<float> base = rope_frequencies(plain).inverse, scaled = rope_frequencies(rope).inverse;
  std::vector<float> divisors(base.size());
  for (std::size_t i = 0; i < base.size(); ++i) divisors[i] = base[i] / scaled[i];
  return divisors;
}

}  // namespace moebox

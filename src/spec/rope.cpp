#include "spec/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include <fmt/core.h>

#include "base/error.h"
#include "spec/config_reader.h"
#include "spec/gguf_reader.h"

namespace moebox {
namespace {

/// The dimension whose wave makes `rotations` turns over the original context (YaRN, equation 13 solved for the
/// dimension).
double correction_dimension(double rotations, const RopeSpec& spec) {
  return spec.dim * std::log(spec.original_context / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(static_cast<double>(spec.theta)));
}

void apply_yarn(const RopeSpec& spec, std::span<float> inverse) {
  double low = correction_dimension(spec.beta_fast, spec);
  double high = correction_dimension(spec.beta_slow, spec);
  if (spec.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(spec.dim - 1));
  if (low == high) high += 0.001;  // no division by zero
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const float ramp = std::clamp(static_cast<float>((static_cast<double>(i) - low) / (high - low)), 0.0f, 1.0f);
    const float extrapolated = inverse[i];
    const float interpolated = extrapolated / spec.factor;
    const float keep = 1.0f - ramp;
    inverse[i] = interpolated * (1.0f - keep) + extrapolated * keep;
  }
}

float attention_scale(const RopeSpec& spec) {
  if (spec.scaling != RopeScaling::yarn) return 1.0f;
  if (spec.attention_factor > 0.0f) return spec.attention_factor;
  if (spec.mscale > 0.0f && spec.mscale_all_dim > 0.0f)
    return yarn_mscale(spec.factor, spec.mscale) / yarn_mscale(spec.factor, spec.mscale_all_dim);
  return yarn_mscale(spec.factor, 1.0f);
}

void apply_llama3(const RopeSpec& spec, std::span<float> frequencies) {
  const float original = static_cast<float>(spec.original_context);
  const float low_wavelength = original / spec.low_freq_factor;
  const float high_wavelength = original / spec.high_freq_factor;
  for (float& inverse : frequencies) {
    const float wavelength = 2.0f * std::numbers::pi_v<float> / inverse;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      inverse /= spec.factor;
      continue;
    }
    const float smooth =
        (original / wavelength - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
    inverse = (1.0f - smooth) * (inverse / spec.factor) + smooth * inverse;
  }
}

constexpr RopeLimits rotation_limits{1e-3f, 1e6f};  // beta_fast, beta_slow, low_freq_factor, high_freq_factor
constexpr RopeLimits scale_limits{0.0f, 100.0f};    // attention_factor, mscale, mscale_all_dim
constexpr RopeLimits divisor_limits{1e-6f, 1e9f};

template <class Reader>
float number(const Reader& reader, const char* key, RopeLimits limits, float fallback) {
  return reader.number(key, limits.low, limits.high, fallback);
}

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::invalid_file, what, where);
}

/// Two numbers of which the first must be the smaller.
void check_order(const std::string& low_name, float low, const std::string& high_name, float high) {
  if (!(low < high))
    refuse(fmt::format("expected {} below {}, found {:g} and {:g}", low_name, high_name, low, high), low_name);
}

/// What the numbers must be together; each of them has been checked when it was read.
void validate(const RopeSpec& spec, const std::string& where) {
  if (spec.dim < 2 || spec.dim % 2 != 0)
    refuse("expected an even number of rotated values, found " + std::to_string(spec.dim), where);
  const bool needs_original = spec.scaling == RopeScaling::yarn || spec.scaling == RopeScaling::llama3 ||
                              spec.scaling == RopeScaling::dynamic_ntk;
  if (needs_original && spec.original_context < 1) refuse("the RoPE scaling needs the original context length", where);
  if ((spec.scaling == RopeScaling::ntk || spec.scaling == RopeScaling::dynamic_ntk) && spec.dim == 2)
    refuse("NTK scaling needs more than 2 rotated values", where);
}

}  // namespace

float yarn_mscale(float factor, float mscale) {
  return factor <= 1.0f ? 1.0f : 0.1f * mscale * std::log(factor) + 1.0f;
}

void write_rope_frequencies(const RopeSpec& spec, int position, std::span<float> inverse) noexcept {
  const double exponent = static_cast<double>(spec.dim) / (spec.dim - 2);
  double raised = spec.theta;
  if (spec.scaling == RopeScaling::ntk) raised *= std::pow(static_cast<double>(spec.factor), exponent);
  if (spec.scaling == RopeScaling::dynamic_ntk && position >= spec.original_context) {
    const double stretch = static_cast<double>(spec.factor) * (position + 1.0) / spec.original_context -
                           (static_cast<double>(spec.factor) - 1.0);
    raised *= std::pow(stretch, exponent);
  }
  const auto base = static_cast<float>(raised);
  for (int i = 0; i < spec.dim / 2; ++i)
    inverse[static_cast<std::size_t>(i)] =
        1.0f / std::pow(base, static_cast<float>(2 * i) / static_cast<float>(spec.dim));
  if (spec.scaling == RopeScaling::linear)
    for (float& frequency : inverse) frequency /= spec.factor;
  if (spec.scaling == RopeScaling::llama3) apply_llama3(spec, inverse);
  if (!spec.frequency_divisors.empty())
    for (std::size_t i = 0; i < inverse.size(); ++i) inverse[i] /= spec.frequency_divisors[i];
  if (spec.scaling == RopeScaling::yarn) apply_yarn(spec, inverse);
}

RopeFrequencies rope_frequencies(const RopeSpec& spec, int position) {
  RopeFrequencies result{std::vector<float>(static_cast<std::size_t>(spec.dim / 2)), attention_scale(spec)};
  write_rope_frequencies(spec, position, result.inverse);
  return result;
}

RopeSpec read_gguf_rope(const Checkpoint& checkpoint, std::string_view architecture, int head_dim, int max_context) {
  const GgufReader read(checkpoint, std::string(architecture));
  RopeSpec spec;
  spec.dim = read.integer("rope.dimension_count", 2, head_dim, head_dim);
  spec.theta = number(read, "rope.freq_base", rope_theta_limits, 10000.0f);
  spec.factor = number(read, "rope.scaling.factor", rope_factor_limits,
                       number(read, "rope.scale_linear", rope_factor_limits, 1.0f));
  const std::string type_key = read.key("rope.scaling.type");
  const bool old_linear = !checkpoint.find(type_key) && spec.factor != 1.0f;
  const std::string type = checkpoint.string(type_key, old_linear ? "linear" : "none");
  spec.original_context = read.integer("rope.scaling.original_context_length", 0, max_context_tokens, max_context);
  if (type == "linear") {
    spec.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    spec.scaling = RopeScaling::yarn;
    spec.beta_fast = number(read, "rope.scaling.yarn_beta_fast", rotation_limits, 32.0f);
    spec.beta_slow = number(read, "rope.scaling.yarn_beta_slow", rotation_limits, 1.0f);
    check_order(read.key("rope.scaling.yarn_beta_slow"), spec.beta_slow, read.key("rope.scaling.yarn_beta_fast"),
                spec.beta_fast);
    // llama.cpp multiplies its attn_factor with the factor's own mscale.
    spec.attention_factor =
        number(read, "rope.scaling.attn_factor", gguf_attn_factor_limits, 1.0f) * yarn_mscale(spec.factor, 1.0f);
  } else if (type != "none") {
    throw Error(ErrorKind::unsupported, "the RoPE scaling \"" + type + "\" is not implemented", type_key,
                "known are none, linear and yarn");
  }
  if (const TensorView* divisors = checkpoint.find_tensor("rope_freqs.weight")) {
    if (divisors->dtype != DType::f32 || divisors->n_elements() != spec.dim / 2)
      refuse("expected F32 of " + std::to_string(spec.dim / 2) + " values, found " + shape_text(*divisors),
             "rope_freqs.weight");
    spec.frequency_divisors.resize(static_cast<std::size_t>(spec.dim / 2));
    std::copy_n(divisors->data.data(), divisors->data.size(),
                reinterpret_cast<std::byte*>(spec.frequency_divisors.data()));
    for (const float divisor : spec.frequency_divisors)
      if (!(divisor >= divisor_limits.low && divisor <= divisor_limits.high))
        refuse(fmt::format("expected numbers from {:g} to {:g}, found {:g}", divisor_limits.low, divisor_limits.high,
                           divisor),
               "rope_freqs.weight");
  }
  validate(spec, read.key("rope.*"));
  return spec;
}

RopeSpec read_hf_rope(const nlohmann::json& config, int head_dim, int max_context) {
  const std::string where = "config.json";
  const ConfigReader top(config, where);
  const nlohmann::json none = nlohmann::json::object();
  const nlohmann::json* scaling = &none;
  std::string name = "rope_parameters";
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (top.has(key)) {
      scaling = &config.at(key);
      name = key;
      break;
    }
  const ConfigReader rope(*scaling, where + ": " + name);
  RopeSpec spec;
  constexpr RopeLimits partial_limits{1e-3f, 1.0f};
  const float partial =
      number(rope, "partial_rotary_factor", partial_limits, number(top, "partial_rotary_factor", partial_limits, 1.0f));
  spec.dim = static_cast<int>(static_cast<float>(head_dim) * partial);
  spec.theta = number(rope, "rope_theta", rope_theta_limits, number(top, "rope_theta", rope_theta_limits, 10000.0f));
  spec.factor = number(rope, "factor", rope_factor_limits, 1.0f);
  spec.original_context =
      rope.integer("original_max_position_embeddings", 1, max_context_tokens,
                   top.integer("original_max_position_embeddings", 1, max_context_tokens, max_context));
  const std::string type = rope.string("rope_type", rope.string("type", "default"));
  if (type == "linear") {
    spec.scaling = RopeScaling::linear;
  } else if (type == "ntk") {
    spec.scaling = RopeScaling::ntk;
  } else if (type == "dynamic") {
    spec.scaling = RopeScaling::dynamic_ntk;
    spec.factor = number(rope, "factor", {1.0f, rope_factor_limits.high}, 1.0f);
  } else if (type == "yarn") {
    spec.scaling = RopeScaling::yarn;
    if (!rope.has("factor")) spec.factor = static_cast<float>(max_context) / static_cast<float>(spec.original_context);
    spec.beta_fast = number(rope, "beta_fast", rotation_limits, 32.0f);
    spec.beta_slow = number(rope, "beta_slow", rotation_limits, 1.0f);
    check_order(where + ": " + name + ".beta_slow", spec.beta_slow, "beta_fast", spec.beta_fast);
    spec.attention_factor = number(rope, "attention_factor", scale_limits, 0.0f);
    spec.mscale = number(rope, "mscale", scale_limits, 0.0f);
    spec.mscale_all_dim = number(rope, "mscale_all_dim", scale_limits, 0.0f);
    spec.truncate = rope.boolean("truncate", true);
  } else if (type == "llama3") {
    spec.scaling = RopeScaling::llama3;
    spec.low_freq_factor = number(rope, "low_freq_factor", rotation_limits, 1.0f);
    spec.high_freq_factor = number(rope, "high_freq_factor", rotation_limits, 4.0f);
    check_order(where + ": " + name + ".low_freq_factor", spec.low_freq_factor, "high_freq_factor",
                spec.high_freq_factor);
  } else if (type != "default") {
    throw Error(ErrorKind::unsupported, "the RoPE scaling \"" + type + "\" is not implemented", where + ": rope_type",
                "known are default, linear, ntk, dynamic, yarn and llama3");
  }
  validate(spec, where + ": " + name);
  return spec;
}

}  // namespace moebox

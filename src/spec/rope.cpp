#include "spec/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"
#include "spec/config_reader.h"

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

void validate(const RopeSpec& spec, const std::string& where) {
  const auto fail = [&](const std::string& what) { throw Error(ErrorKind::invalid_file, what, where); };
  if (spec.dim < 2 || spec.dim % 2 != 0)
    fail("expected an even number of rotated values, found " + std::to_string(spec.dim));
  if (!(spec.theta > 1.0f) || !std::isfinite(spec.theta))
    fail("expected a RoPE base above 1, found " + std::to_string(spec.theta));
  if (!(spec.factor > 0.0f) || !std::isfinite(spec.factor))
    fail("expected a RoPE factor above 0, found " + std::to_string(spec.factor));
  const bool needs_original = spec.scaling == RopeScaling::yarn || spec.scaling == RopeScaling::llama3 ||
                              spec.scaling == RopeScaling::dynamic_ntk;
  if (needs_original && spec.original_context < 1) fail("the RoPE scaling needs the original context length");
  if (spec.scaling == RopeScaling::yarn && !(spec.beta_fast > 0.0f && spec.beta_slow > 0.0f))
    fail("expected beta_fast and beta_slow above 0");
  // Published models have 0.7 to 2; what is far beyond makes infinities of the products.
  for (const auto& [name, value] : {std::pair{"attention_factor", spec.attention_factor},
                                    {"mscale", spec.mscale},
                                    {"mscale_all_dim", spec.mscale_all_dim}}) {
    if (!(value >= 0.0f && value <= 100.0f))
      fail(std::string("expected ") + name + " between 0 and 100, found " + std::to_string(value));
  }
  if (spec.scaling == RopeScaling::llama3 &&
      !(spec.low_freq_factor > 0.0f && spec.high_freq_factor > spec.low_freq_factor))
    fail("expected 0 < low_freq_factor < high_freq_factor");
  if ((spec.scaling == RopeScaling::ntk || spec.scaling == RopeScaling::dynamic_ntk) && spec.dim == 2)
    fail("NTK scaling needs more than 2 rotated values");
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
  const std::string prefix = std::string(architecture) + ".rope.";
  RopeSpec spec;
  const auto dim = checkpoint.integer(prefix + "dimension_count", head_dim);
  if (dim < 2 || dim > head_dim)
    throw Error(ErrorKind::invalid_file,
                "expected 2 to " + std::to_string(head_dim) + " rotated values, found " + std::to_string(dim),
                prefix + "dimension_count");
  spec.dim = static_cast<int>(dim);
  spec.theta = static_cast<float>(checkpoint.number(prefix + "freq_base", 10000.0));
  spec.factor =
      static_cast<float>(checkpoint.number(prefix + "scaling.factor", checkpoint.number(prefix + "scale_linear", 1.0)));
  const bool old_linear = !checkpoint.find(prefix + "scaling.type") && spec.factor != 1.0f;
  const std::string type = checkpoint.string(prefix + "scaling.type", old_linear ? "linear" : "none");
  const auto original = checkpoint.integer(prefix + "scaling.original_context_length", max_context);
  if (original < 0 || original > max_context_tokens)
    throw Error(ErrorKind::invalid_file, "out of range: " + std::to_string(original),
                prefix + "scaling.original_context_length");
  spec.original_context = static_cast<int>(original);
  if (type == "linear") {
    spec.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    spec.scaling = RopeScaling::yarn;
    spec.beta_fast = static_cast<float>(checkpoint.number(prefix + "scaling.yarn_beta_fast", 32.0));
    spec.beta_slow = static_cast<float>(checkpoint.number(prefix + "scaling.yarn_beta_slow", 1.0));
    // llama.cpp multiplies its attn_factor with the factor's own mscale.
    const auto extra = static_cast<float>(checkpoint.number(prefix + "scaling.attn_factor", 1.0));
    spec.attention_factor = extra * yarn_mscale(spec.factor, 1.0f);
  } else if (type != "none") {
    throw Error(ErrorKind::unsupported, "the RoPE scaling \"" + type + "\" is not implemented", prefix + "scaling.type",
                "known are none, linear and yarn");
  }
  if (const TensorView* divisors = checkpoint.find_tensor("rope_freqs.weight")) {
    if (divisors->dtype != DType::f32 || divisors->n_elements() != spec.dim / 2)
      throw Error(ErrorKind::invalid_file,
                  "expected F32 of " + std::to_string(spec.dim / 2) + " values, found " + shape_text(*divisors),
                  "rope_freqs.weight");
    spec.frequency_divisors.resize(static_cast<std::size_t>(spec.dim / 2));
    std::copy_n(divisors->data.data(), divisors->data.size(),
                reinterpret_cast<std::byte*>(spec.frequency_divisors.data()));
    for (const float divisor : spec.frequency_divisors)
      if (!(divisor > 0.0f) || !std::isfinite(divisor))
        throw Error(ErrorKind::invalid_file, "expected values above 0", "rope_freqs.weight");
  }
  validate(spec, prefix + "*");
  return spec;
}

RopeSpec read_hf_rope(const nlohmann::json& config, int head_dim, int max_context) {
  const std::string where = "config.json";
  const ConfigReader top(config, where);
  const nlohmann::json none = nlohmann::json::object();
  const nlohmann::json* scaling = &none;
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (top.has(key)) {
      scaling = &config.at(key);
      break;
    }
  const ConfigReader rope(*scaling, where + ": rope_parameters");
  RopeSpec spec;
  const float partial = rope.number("partial_rotary_factor", top.number("partial_rotary_factor", 1.0f));
  if (!(partial > 0.0f && partial <= 1.0f))
    throw Error(ErrorKind::invalid_file, "expected a partial_rotary_factor in (0, 1]", where);
  spec.dim = static_cast<int>(static_cast<float>(head_dim) * partial);
  spec.theta = rope.number("rope_theta", top.number("rope_theta", 10000.0f));
  spec.factor = rope.number("factor", 1.0f);
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
    if (spec.factor < 1.0f) throw Error(ErrorKind::invalid_file, "expected a dynamic RoPE factor of at least 1", where);
  } else if (type == "yarn") {
    spec.scaling = RopeScaling::yarn;
    if (!rope.has("factor")) spec.factor = static_cast<float>(max_context) / static_cast<float>(spec.original_context);
    spec.beta_fast = rope.number("beta_fast", 32.0f);
    spec.beta_slow = rope.number("beta_slow", 1.0f);
    spec.attention_factor = rope.number("attention_factor", 0.0f);
    spec.mscale = rope.number("mscale", 0.0f);
    spec.mscale_all_dim = rope.number("mscale_all_dim", 0.0f);
    spec.truncate = rope.boolean("truncate", true);
  } else if (type == "llama3") {
    spec.scaling = RopeScaling::llama3;
    spec.low_freq_factor = rope.number("low_freq_factor", 1.0f);
    spec.high_freq_factor = rope.number("high_freq_factor", 4.0f);
  } else if (type != "default") {
    throw Error(ErrorKind::unsupported, "the RoPE scaling \"" + type + "\" is not implemented", where + ": rope_type",
                "known are default, linear, ntk, dynamic, yarn and llama3");
  }
  validate(spec, where + ": RoPE");
  return spec;
}

}  // namespace moebox

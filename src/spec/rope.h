// Rotary position embedding as an architecture states it: settings in, frequencies out. The rotation itself is a
// kernel.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"

namespace moebox {

/// More positions than any real model has: a limit on what a hostile file can ask for.
inline constexpr int max_context_tokens = 1 << 24;

enum class RopeScaling {
  none,
  linear,       // positions divided by the factor (Chen et al. 2023)
  ntk,          // the base raised by factor^(d / (d - 2)) ("NTK-aware")
  dynamic_ntk,  // position p beyond the trained context is rotated with the base that NTK gives for a text of p + 1
                // tokens
  yarn,         // Peng et al. 2023
  llama3,       // low frequencies divided, high ones kept, a ramp between
};

struct RopeSpec {
  int dim = 0;               // rotated values of a head, even
  float theta = 10000.0f;    // base
  bool interleaved = false;  // pairs (2i, 2i + 1); otherwise (i, i + dim / 2)
  RopeScaling scaling = RopeScaling::none;
  float factor = 1.0f;
  int original_context = 0;  // tokens before scaling
  // yarn
  float beta_fast = 32.0f, beta_slow = 1.0f;
  float attention_factor =
      0.0f;  // scales cos and sin; 0: derived from the factor (and from mscale, mscale_all_dim where set)
  float mscale = 0.0f, mscale_all_dim = 0.0f;
  bool truncate = true;  // round the ramp's ends to whole dimensions
  // llama3
  float low_freq_factor = 1.0f, high_freq_factor = 4.0f;
  /// GGUF's rope_freqs.weight (dim / 2): each frequency is divided by its entry. Empty: none.
  std::vector<float> frequency_divisors;
};

struct RopeFrequencies {
  std::vector<float> inverse;    // (dim / 2): radians a position
  float attention_scale = 1.0f;  // multiplies cos and sin
};

/// What readers take of the numbers that files state. Published models lie far within; beyond, frequencies or their
/// sines would become infinities or NaNs.
struct RopeLimits {
  float low, high;
  bool hold(float value) const noexcept { return value >= low && value <= high; }
};
inline constexpr RopeLimits rope_theta_limits{1.001f, 1e15f};
inline constexpr RopeLimits rope_factor_limits{1e-3f, 1e6f};
inline constexpr RopeLimits gguf_attn_factor_limits{1e-3f, 40.0f};  // it is multiplied with the factor's own mscale

/// YaRN's factor on attention for a context stretched by `factor` (Peng et al. 2023, equation 22).
float yarn_mscale(float factor, float mscale);

/// The frequencies of `spec`, in float arithmetic as transformers computes them. `position` matters to dynamic_ntk
/// alone, where it makes the rotation a function of the position: what transformers computes when it is fed token by
/// token through its cache.
RopeFrequencies rope_frequencies(const RopeSpec& spec, int position = 0);
/// The same into `inverse` (dim / 2), for those who must not allocate.
void write_rope_frequencies(const RopeSpec& spec, int position, std::span<float> inverse) noexcept;

/// Whether the frequencies depend on the position.
inline bool depends_on_position(const RopeSpec& spec) { return spec.scaling == RopeScaling::dynamic_ntk; }

/// From GGUF's `<architecture>.rope.*`. Throws Error(unsupported) for a scaling type that is not known, by name.
RopeSpec read_gguf_rope(const Checkpoint& checkpoint, std::string_view architecture, int head_dim, int max_context);
/// From config.json, both of transformers 5 (`rope_parameters`) and before (`rope_theta`, `rope_scaling`).
RopeSpec read_hf_rope(const nlohmann::json& config, int head_dim, int max_context);

}  // namespace moebox

// RoPE numbers that would make infinities or NaNs of the frequencies or their sines: refused at load by the field's
// name, in both formats.
#include "spec/rope.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "spec/edited_model.h"

namespace moebox {
namespace {

using test::edit_gguf_numbers;
using test::EditedFolder;
using test::expect_refused;
using test::load;

namespace fs = std::filesystem;

const fs::path scaled_models = MOEBOX_TEST_DIR "/golden/transformers/models";
constexpr float infinity = std::numeric_limits<float>::infinity(),
                not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Field {
  std::string model, name;
  std::vector<double> refused;  // beside what is no number, and what no float holds
};

const std::vector<Field> json_fields{
    {"llama_yarn", "rope_theta", {0, 1, -10000, 1e30}},
    {"llama_yarn", "factor", {0, -4, 1e-9, 1e9}},
    {"llama_yarn", "beta_fast", {0, -32, 1e9, 0.5}},  // 0.5: below beta_slow
    {"llama_yarn", "beta_slow", {0, -1, 1e9, 64}},
    {"llama_yarn", "attention_factor", {-1, 1e6}},
    {"llama_yarn", "mscale", {-1, 1e6}},
    {"llama_yarn", "mscale_all_dim", {-1, 1e6}},
    {"llama_yarn", "original_max_position_embeddings", {0, -1, 1e12}},
    {"llama_yarn", "partial_rotary_factor", {0, -1, 1.5}},
    {"llama_llama3", "factor", {0, -4, 1e-9, 1e9}},
    {"llama_llama3", "low_freq_factor", {0, -1, 1e9, 4}},  // 4: not below high_freq_factor
    {"llama_llama3", "high_freq_factor", {0, -1, 1e9, 1}},
    {"llama_linear", "factor", {0, -4, 1e-9, 1e9}},
    {"llama_dynamic", "factor", {0, -4, 0.5, 1e9}},
};

TEST(Rope, NumbersOutOfRangeInAConfigAreRefusedByName) {
  for (const Field& field : json_fields) {
    SCOPED_TRACE(field.model + " " + field.name);
    EditedFolder folder(scaled_models / field.model);
    const std::string scaling = folder.config.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
    const auto original = folder.config[scaling];
    EXPECT_NO_THROW(load(folder.write()));
    std::vector<nlohmann::json> values(field.refused.begin(), field.refused.end());
    values.insert(values.end(), {1e300, -1e300, "1", true});
    for (const nlohmann::json& value : values) {
      SCOPED_TRACE(value.dump());
      folder.config[scaling] = original;
      folder.config[scaling][field.name] = value;
      expect_refused(folder, field.name);
      expect_refused(folder, scaling);
    }
  }
}

class GgufRope : public testing::Test {
 protected:
  ~GgufRope() override { fs::remove(path_); }
  const fs::path& edited(const std::string& model, const std::string& key, float value) {
    edit_gguf_numbers(scaled_models / model / "f16.gguf", path_, {{key, value}});
    return path_;
  }
  const fs::path path_ = fs::temp_directory_path() / ("moebox_rope_" + std::to_string(::getpid()) + ".gguf");
};

TEST_F(GgufRope, NumbersOutOfRangeAreRefusedByName) {
  const std::vector<Field> fields{
      {"llama_yarn", "llama.rope.freq_base", {0, 1, -10000, 1e30}},
      {"llama_yarn", "llama.rope.scaling.factor", {0, -4, 1e-9, 1e9}},
      {"llama_yarn", "llama.rope.scaling.yarn_beta_fast", {0, -32, 1e9, 0.5}},
      {"llama_yarn", "llama.rope.scaling.yarn_beta_slow", {0, -1, 1e9, 64}},
      {"llama_yarn", "llama.rope.scaling.attn_factor", {0, -1, 1e6}},
      {"llama_linear", "llama.rope.scaling.factor", {0, -4, 1e-9, 1e9}},
      {"llama_gqa", "llama.rope.scale_linear", {0, -4, 1e-9, 1e9}},
  };
  for (const Field& field : fields) {
    SCOPED_TRACE(field.model + " " + field.name);
    EXPECT_NO_THROW(load(edited(field.model, field.name, 2.0f)));
    std::vector<float> values(field.refused.begin(), field.refused.end());
    values.insert(values.end(), {infinity, -infinity, not_a_number, -not_a_number});
    for (const float value : values) {
      SCOPED_TRACE(value);
      expect_refused(edited(field.model, field.name, value), field.name);
    }
  }
}

TEST(Rope, NumbersAtTheEdgesMakeFiniteFrequencies) {
  for (const RopeScaling scaling : {RopeScaling::none, RopeScaling::linear, RopeScaling::ntk, RopeScaling::dynamic_ntk,
                                    RopeScaling::yarn, RopeScaling::llama3}) {
    for (const float theta : {1.001f, 1e15f}) {
      for (const float factor : {1e-3f, 1.0f, 1e6f}) {
        if (scaling == RopeScaling::dynamic_ntk && factor < 1.0f) continue;
        for (const auto& [low, high] : {std::pair{1e-3f, 2e-3f}, {1e-3f, 1e6f}, {1.0f, 32.0f}, {9e5f, 1e6f}}) {
          RopeSpec spec;
          spec.dim = 64;
          spec.scaling = scaling;
          spec.theta = theta;
          spec.factor = factor;
          spec.original_context = 1;
          spec.beta_slow = spec.low_freq_factor = low;
          spec.beta_fast = spec.high_freq_factor = high;
          const RopeFrequencies frequencies = rope_frequencies(spec, max_context_tokens);
          ASSERT_TRUE(std::isfinite(frequencies.attention_scale) && frequencies.attention_scale > 0);
          for (const float inverse : frequencies.inverse)
            ASSERT_TRUE(inverse >= 0.0f && inverse <= 1e4f) << inverse << " theta " << theta << " factor " << factor;
        }
      }
    }
  }
}

}  // namespace
}  // namespace moebox

// An attention-fed gate (docs/routing.md) whose numbers or tensors do not hold together fails at load, by name.
#include "spec/gate_attention.h"

#include <gtest/gtest.h>

#include "spec/deepseek.h"
#include "spec/edited_model.h"

namespace moebox {
namespace {

using test::EditedFolder;
using test::expect_refused;

const std::filesystem::path attention_models = MOEBOX_TEST_DIR "/golden/moe/models";

TEST(GateAttention, IsReadFromTheConfig) {
  const DeepseekSpec spec = read_deepseek(Checkpoint::open(attention_models / "deepseek_v2_attention"));
  EXPECT_EQ(spec.gate.attention.n_heads, 2);
  EXPECT_EQ(spec.gate.attention.head_dim, 16);
}

TEST(GateAttention, ItsCacheIsCounted) {
  const ModelInfo info = describe_model(Checkpoint::open(attention_models / "deepseek_v2_attention"));
  // Latents of 16 + 8 values in three layers; keys and values of 2 x 16 in the two that have experts; two bytes each.
  EXPECT_EQ(info.kv_block_bytes(), kv_block_tokens * (3 * 24 + 2 * 2 * 32) * 2u);
}

TEST(GateAttention, NumbersThatCannotBeAreRefusedByName) {
  for (const char* model : {"deepseek_v2_attention", "qwen3moe_attention"}) {
    const auto refused = [model](const char* field, const nlohmann::json& value, const char* named) {
      EditedFolder folder(attention_models / model);
      folder.config["gate_attention"][field] = value;
      expect_refused(folder, named);
    };
    for (const nlohmann::json& value :
         {nlohmann::json(0), nlohmann::json(-1), nlohmann::json(1 << 20), nlohmann::json("2"), nlohmann::json()})
      refused("num_heads", value, "num_heads");
    for (const int value : {0, 4, 12, 264}) refused("head_dim", value, "head_dim");
    EditedFolder no_object(attention_models / model);
    no_object.config["gate_attention"] = 3;
    expect_refused(no_object, "gate_attention");
  }
}

TEST(GateAttention, TensorsMustBeThereAndFit) {
  const std::string q = "model.layers.1.gate_attention.q_proj.weight";
  EditedFolder missing(attention_models / "qwen3moe_attention");
  ASSERT_EQ(missing.tensors.erase(q), 1u);
  expect_refused(missing, q);
  EditedFolder wide(attention_models / "qwen3moe_attention");
  wide.config["gate_attention"]["num_heads"] = 4;
  expect_refused(wide, "gate");
  EditedFolder without(attention_models / "qwen3moe_attention");
  without.config.erase("gate_attention");
  expect_refused(without, "gate");
  EditedFolder nan(attention_models / "qwen3moe_attention");
  nan.tensors.at(q).data.replace(0, 2, "\xc0\x7f");  // a NaN in BF16
  expect_refused(nan, q);
}

TEST(GateAttention, OnlyASoftmaxGateHasOne) {
  EditedFolder folder(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3");
  folder.config["gate_attention"] = {{"num_heads", 2}, {"head_dim", 16}};
  expect_refused(folder, "gate_attention");
}

}  // namespace
}  // namespace moebox

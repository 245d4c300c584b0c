// DeepSeek configurations and tensors that do not hold together: each must fail at load, by the field's name.
#include "spec/deepseek.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/model.h"
#include "spec/edited_model.h"

namespace moebox {
namespace {

using test::EditedFolder;
using test::expect_refused;
using test::load;

namespace fs = std::filesystem;

const fs::path models = MOEBOX_TEST_DIR "/golden/deepseek/models";

void expect_config_refused(const std::string& model, const std::string& field, const nlohmann::json& value,
                           const std::string& named = "") {
  EditedFolder folder(models / model);
  folder.config[field] = value;
  expect_refused(folder, named.empty() ? field : named);
}

TEST(DeepseekSpec, TheTinyModelsLoad) {
  for (const char* model : {"tiny-v2-lite", "tiny-v2", "tiny-v3", "tiny-v3-yarn"})
    EXPECT_NO_THROW(load(models / model));
}

TEST(DeepseekSpec, ScalesThatMakeInfinitiesAreRefused) {
  for (const char* name : {"attention_factor", "mscale", "mscale_all_dim"}) {
    for (const double value : {-1.0, 1e19}) {
      EditedFolder folder(models / "tiny-v3-yarn");
      folder.config["rope_parameters"][name] = value;
      expect_refused(folder, name);
    }
  }
}

TEST(DeepseekSpec, ReadsWhatTheConfigSays) {
  const DeepseekSpec spec = read_deepseek(Checkpoint::open(models / "tiny-v3-yarn"));
  EXPECT_EQ(spec.mla.latent_dim(), 48);
  EXPECT_EQ(spec.gate.score, GateScore::sigmoid);
  EXPECT_EQ(spec.gate.n_groups, 4);
  EXPECT_EQ(spec.n_mtp_layers, 1);
  const float mscale = 0.1f * std::log(4.0f) + 1.0f;
  EXPECT_FLOAT_EQ(spec.mla.softmax_scale, mscale * mscale / std::sqrt(32.0f));
}

TEST(DeepseekSpec, NumbersThatContradictEachOtherAreRefusedByName) {
  expect_config_refused("tiny-v3", "num_experts_per_tok", 9);
  expect_config_refused("tiny-v3", "num_experts_per_tok", 0);
  expect_config_refused("tiny-v3", "num_experts_per_tok", 5);  // more than two groups of two hold
  expect_config_refused("tiny-v3", "n_group", 3);
  expect_config_refused("tiny-v3", "n_group", 0);
  expect_config_refused("tiny-v3", "n_group", 8);  // groups of one have no two best
  expect_config_refused("tiny-v3", "topk_group", 5);
  expect_config_refused("tiny-v3", "topk_group", -1);
  expect_config_refused("tiny-v3", "n_routed_experts", 0);
  expect_config_refused("tiny-v3", "n_routed_experts", 1 << 30);
  expect_config_refused("tiny-v3", "kv_lora_rank", -32);
  expect_config_refused("tiny-v3", "kv_lora_rank", 1 << 30);
  expect_config_refused("tiny-v3", "kv_lora_rank", 33, "kv_a_proj_with_mqa");
  expect_config_refused("tiny-v3", "q_lora_rank", -1);
  expect_config_refused("tiny-v3", "q_lora_rank", 1 << 20);
  expect_config_refused("tiny-v3", "qk_rope_head_dim", 15, "rotated values");
  expect_config_refused("tiny-v3", "qk_nope_head_dim", 0);
  expect_config_refused("tiny-v3", "v_head_dim", 1 << 20);
  expect_config_refused("tiny-v3", "num_key_value_heads", 2);
  expect_config_refused("tiny-v3", "first_k_dense_replace", 4);
  expect_config_refused("tiny-v3", "n_shared_experts", -1);
  expect_config_refused("tiny-v3", "rms_norm_eps", 0);
  expect_config_refused("tiny-v3", "vocab_size", 511, "embed_tokens");
  expect_config_refused("tiny-v3", "num_hidden_layers", "three");
}

TEST(DeepseekSpec, WhatIsNotImplementedIsRefusedByName) {
  expect_config_refused("tiny-v3", "topk_method", "greedy");
  expect_config_refused("tiny-v3", "scoring_func", "softmax");
  expect_config_refused("tiny-v2", "topk_method", "noaux_tc");
  EditedFolder own_code(models / "tiny-v2");  // which does not what transformers' does with this field
  own_code.config["norm_topk_prob"] = true;
  own_code.config["auto_map"] = {{"AutoModelForCausalLM", "modeling_deepseek.DeepseekV2ForCausalLM"}};
  expect_refused(own_code, "norm_topk_prob");
  expect_config_refused("tiny-v3", "moe_layer_freq", 2);
  expect_config_refused("tiny-v3", "hidden_act", "gelu");
  expect_config_refused("tiny-v2", "mlp_bias", true);
  expect_config_refused("tiny-v3", "rope_parameters",
                        {{"rope_type", "linear"}, {"rope_theta", 10000.0}, {"factor", 2.0}}, "rope_scaling");
  expect_config_refused("tiny-v3", "quantization_config", {{"quant_method", "awq"}});
  expect_config_refused("tiny-v3", "quantization_config",
                        {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {64, 64}}});
}

TEST(DeepseekTensors, MissingAndExtraOnesAreRefusedByName) {
  const std::string expert = "model.layers.1.mlp.experts.7.up_proj.weight";
  EditedFolder missing(models / "tiny-v3");
  missing.tensors.erase(expert);
  expect_refused(missing, expert);
  EditedFolder extra(models / "tiny-v3");
  extra.tensors["model.layers.1.mlp.experts.8.up_proj.weight"] = extra.tensors.at(expert);
  expect_refused(extra, "experts.8");
  EditedFolder no_bias(models / "tiny-v3");
  no_bias.tensors.erase("model.layers.1.mlp.gate.e_score_correction_bias");
  expect_refused(no_bias, "e_score_correction_bias");
}

TEST(DeepseekTensors, TheLayersThatPredictFurtherTokensAreLeftOut) {
  EditedFolder folder(models / "tiny-v3");
  folder.tensors["model.layers.3.eh_proj.weight"] = {"BF16", {1, 2}, std::string(4, 'a')};
  EXPECT_NO_THROW(load(folder.write()));
  folder.tensors["model.layers.4.eh_proj.weight"] = {"BF16", {1, 2}, std::string(4, 'a')};
  expect_refused(folder, "model.layers.4.eh_proj");
}

TEST(DeepseekTensors, ALayerOfTheModelsOwnIsNotLeftOut) {
  expect_config_refused("tiny-v3", "num_hidden_layers", 2);
  expect_config_refused("tiny-v2", "num_hidden_layers", 2, "model.layers.2.");
}

TEST(DeepseekTensors, NanInAGateOrItsBiasIsRefused) {
  for (const std::string name : {"model.layers.2.mlp.gate.weight", "model.layers.2.mlp.gate.e_score_correction_bias"}) {
    EditedFolder folder(models / "tiny-v3");
    std::string& data = folder.tensors.at(name).data;
    data[4] = data[5] = static_cast<char>(0x7f);
    data[4] = static_cast<char>(0xff);  // BF16 0x7fff
    expect_refused(folder, name);
  }
}

// ---- FP8 ----

/// Turns a BF16 matrix into E4M3 with one scale a block; returns the values that it then stands for, as BF16.
std::string make_fp8(EditedFolder& folder, const std::string& name, float scale) {
  EditedFolder::Tensor& tensor = folder.tensors.at(name);
  std::string exact = tensor.data;
  const std::size_t n = tensor.data.size() / 2;
  std::string bytes(n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    // Keep sign and the top bits of the weight: any byte but NaN is a number, and 2^-k scales are exact in BF16.
    const auto byte =
        static_cast<unsigned char>((static_cast<unsigned char>(tensor.data[2 * i + 1]) & 0x80u) | (i * 7 % 0x50));
    bytes[i] = static_cast<char>(byte);
    const int exponent = (byte >> 3) & 15, mantissa = byte & 7;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    if (byte & 0x80) value = -value;
    value *= scale;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    const auto half = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(exact.data() + 2 * i, &half, 2);
  }
  const auto blocks = [](std::int64_t size) { return (size + 127) / 128; };
  const std::vector<std::int64_t> shape = {blocks(tensor.shape[0]), blocks(tensor.shape[1])};
  std::string scales;
  for (std::int64_t i = 0; i < shape[0] * shape[1]; ++i) scales.append(reinterpret_cast<const char*>(&scale), 4);
  tensor.dtype = "F8_E4M3";
  tensor.data = bytes;
  folder.tensors[name + "_scale_inv"] = {"F32", shape, scales};
  return exact;
}

std::vector<float> logits_of(const fs::path& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  ThreadTeam team(1);
  const auto model = load_model(checkpoint, team);
  const auto workspace = model->make_workspace(4, 4, 32, 1);
  std::vector<std::byte> cache(model->info().kv_block_bytes());
  const KvBlocks kv{cache.data(), 1, model->info().kv.block_bytes()};
  const std::vector<TokenId> tokens = {5, 6, 7, 8};
  const std::vector<int> rows = {0, 3}, blocks = {0};
  const BatchSpan spans[] = {{0, 2, 0, blocks, Role::prompt, {}}, {2, 2, 2, blocks, Role::generated, {}}};
  std::vector<float> logits(rows.size() * static_cast<std::size_t>(model->info().vocab_size));
  model->forward(team, *workspace, kv, {tokens, spans, rows, logits.data(), {}});
  return logits;
}

const std::vector<std::string> quantised = {"model.layers.0.self_attn.kv_b_proj.weight",
                                            "model.layers.0.self_attn.q_a_proj.weight",
                                            "model.layers.0.mlp.down_proj.weight",
                                            "model.layers.1.mlp.experts.3.up_proj.weight",
                                            "model.layers.1.mlp.shared_experts.gate_proj.weight",
                                            "model.layers.2.self_attn.o_proj.weight"};
const nlohmann::json fp8_config = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};

TEST(DeepseekFp8, LogitsAreThoseOfTheWeightsThatItStandsFor) {
  EditedFolder fp8(models / "tiny-v3"), exact(models / "tiny-v3");
  fp8.config["quantization_config"] = fp8_config;
  for (const std::string& name : quantised) exact.tensors.at(name).data = make_fp8(fp8, name, 0.0625f);
  const auto logits = logits_of(fp8.write());
  EXPECT_EQ(logits, logits_of(exact.write()));
  for (const float logit : logits) ASSERT_TRUE(std::isfinite(logit));
}

TEST(DeepseekFp8, ScalesThatDoNotFitAreRefusedByName) {
  const std::string& name = quantised.front();
  EditedFolder missing(models / "tiny-v3");
  missing.config["quantization_config"] = fp8_config;
  make_fp8(missing, name, 1.0f);
  missing.tensors.erase(name + "_scale_inv");
  expect_refused(missing, name + "_scale_inv");
  EditedFolder shape(models / "tiny-v3");
  shape.config["quantization_config"] = fp8_config;
  make_fp8(shape, name, 1.0f);
  shape.tensors.at(name + "_scale_inv") = {"F32", {1, 1}, std::string(4, 'a')};
  expect_refused(shape, name + "_scale_inv");
  EditedFolder type(models / "tiny-v3");
  type.config["quantization_config"] = fp8_config;
  make_fp8(type, name, 1.0f);
  type.tensors.at(name + "_scale_inv") = {"BF16", {2, 1}, std::string(4, 'a')};
  expect_refused(type, name + "_scale_inv");
  EditedFolder extra(models / "tiny-v3");
  extra.tensors[name + "_scale_inv"] = {"F32", {2, 1}, std::string(8, 'a')};
  expect_refused(extra, name + "_scale_inv");
}

}  // namespace
}  // namespace moebox

// Models whose numbers and tensors contradict each other: each fails at load with the field's or the tensor's name, as
// a Hugging Face folder and as GGUF. DeepSeek's folders are in tests/spec/deepseek_test.cpp.
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "convert/convert.h"
#include "io/gguf_writer.h"
#include "io/io_testing.h"
#include "models/golden_data.h"
#include "spec/edited_model.h"

namespace moebox::test {
namespace {

namespace fs = std::filesystem;

/// A model of tests/golden as GGUF with F32 tensors, to be written again with something else in it.
class EditedGguf {
 public:
  struct Tensor {
    DType dtype;
    std::vector<std::int64_t> shape;  // slowest dimension first
    std::string data;
  };

  explicit EditedGguf(const fs::path& model, bool whole_kv_b = false) {
    ConvertOptions options;
    options.type = "F32";
    options.n_threads = 1;
    options.whole_kv_b = whole_kv_b;
    convert(Checkpoint::open(model), *folder_ / "in.gguf", options);
    const Checkpoint checkpoint = Checkpoint::open(*folder_ / "in.gguf");
    for (const GgufPair& pair : checkpoint.encoded_metadata()) header_.set_encoded(pair.key, pair.value);
    for (const TensorView& view : checkpoint.tensors())
      tensors[view.name] = {view.dtype,
                            {view.shape.begin(), view.shape.begin() + view.rank},
                            {reinterpret_cast<const char*>(view.data.data()), view.data.size()}};
  }

  void set(const std::string& key, std::variant<std::uint32_t, float> value) {
    if (const auto* number = std::get_if<float>(&value))
      header_.set_f32(key, *number);
    else
      header_.set_u32(key, std::get<std::uint32_t>(value));
  }

  fs::path write() {
    GgufHeader header = header_;
    for (const auto& [name, tensor] : tensors) header.add_tensor(name, tensor.dtype, tensor.shape);
    OutputFile file(*folder_ / "out.gguf", true);
    GgufStream stream(file, header);
    for (const auto& [name, tensor] : tensors) stream.write(std::as_bytes(std::span(tensor.data)));
    file.commit();
    return *folder_ / "out.gguf";
  }

  std::map<std::string, Tensor> tensors;

 private:
  std::shared_ptr<const TemporaryFolder> folder_ = std::make_shared<TemporaryFolder>();  // of all copies
  GgufHeader header_;
};

const fs::path tiny_v3 = golden_dir() / "deepseek/models/tiny-v3", tiny_v2 = golden_dir() / "deepseek/models/tiny-v2";
const fs::path moe_models = golden_dir() / "moe/models";

void set_value(std::string& data, std::size_t index, float value) {
  std::memcpy(data.data() + index * sizeof value, &value, sizeof value);
}

// ---- GGUF ----

void expect_key_refused(const EditedGguf& model, const std::string& key, std::variant<std::uint32_t, float> value,
                        const std::string& named = "") {
  EditedGguf file = model;
  file.set(key, value);
  expect_refused(file.write(), named.empty() ? key.substr(key.find('.') + 1) : named);
}

constexpr std::uint32_t minus_one = 0xFFFFFFFF;

TEST(HostileGguf, WhatIsNotEditedLoads) {
  for (const fs::path& model :
       {tiny_v3, tiny_v2, moe_models / "mixtral", moe_models / "qwen3moe", moe_models / "olmoe"})
    EXPECT_NO_THROW(load(EditedGguf(model).write())) << model;
}

TEST(HostileGguf, NumbersOfADeepseekThatContradictEachOther) {
  const EditedGguf v3(tiny_v3);
  const std::string deepseek = "deepseek2.";
  expect_key_refused(v3, deepseek + "expert_used_count", 9u);
  expect_key_refused(v3, deepseek + "expert_used_count", 0u);
  expect_key_refused(v3, deepseek + "expert_used_count", 5u);  // more than two groups of two hold
  expect_key_refused(v3, deepseek + "expert_group_count", 3u);
  expect_key_refused(v3, deepseek + "expert_group_count", 8u);  // groups of one have no two best
  expect_key_refused(v3, deepseek + "expert_group_used_count", 5u);
  expect_key_refused(v3, deepseek + "expert_group_count", minus_one);
  expect_key_refused(v3, deepseek + "expert_count", 0u);
  expect_key_refused(v3, deepseek + "expert_count", 1u << 30);
  expect_key_refused(v3, deepseek + "expert_count", minus_one);
  expect_key_refused(v3, deepseek + "expert_gating_func", 3u);
  expect_key_refused(v3, deepseek + "expert_weights_scale", std::numeric_limits<float>::quiet_NaN());
  expect_key_refused(v3, deepseek + "expert_weights_scale", std::numeric_limits<float>::infinity());
  expect_key_refused(v3, deepseek + "expert_shared_count", 1u << 20);
  expect_key_refused(v3, deepseek + "leading_dense_block_count", 4u);
  expect_key_refused(v3, deepseek + "expert_feed_forward_length", 0u);
}

TEST(HostileGguf, RanksAndHeadsOfADeepseek) {
  const EditedGguf v3(tiny_v3);
  const std::string attention = "deepseek2.attention.";
  for (const std::uint32_t rank : {0u, minus_one, 1u << 30}) {
    expect_key_refused(v3, attention + "kv_lora_rank", rank);
    if (rank != 0) expect_key_refused(v3, attention + "q_lora_rank", rank);
  }
  expect_key_refused(v3, attention + "kv_lora_rank", 33u, "attn_kv_a");
  expect_key_refused(v3, attention + "q_lora_rank", 0u, "attn_q");
  expect_key_refused(v3, attention + "key_length_mla", 8u);
  expect_key_refused(v3, attention + "value_length_mla", 1u << 20);
  expect_key_refused(v3, attention + "head_count", 0u);
  expect_key_refused(v3, attention + "head_count", minus_one);
  expect_key_refused(v3, attention + "layer_norm_rms_epsilon", 0.0f);
  expect_key_refused(v3, "deepseek2.rope.dimension_count", 15u, "rope");
  for (const std::uint32_t n_layers : {0u, 1u << 20, minus_one})
    expect_key_refused(v3, "deepseek2.block_count", n_layers);
  expect_key_refused(v3, "deepseek2.embedding_length", 1u << 30);
}

TEST(HostileGguf, NumbersOfTheOtherKindsWithExperts) {
  const std::pair<const char*, const char*> models[] = {
      {"mixtral", "llama"}, {"qwen3moe", "qwen3moe"}, {"olmoe", "olmoe"}};
  for (const auto& [model, architecture] : models) {
    SCOPED_TRACE(model);
    const EditedGguf file(moe_models / model);
    const std::string prefix = std::string(architecture) + ".";
    for (const std::uint32_t k : {17u, 0u, minus_one}) expect_key_refused(file, prefix + "expert_used_count", k);
    expect_key_refused(file, prefix + "expert_count", 1u << 30);
    expect_key_refused(file, prefix + "expert_count", 5u, "ffn_gate_inp");
    expect_key_refused(file, prefix + "expert_group_count", 2u);
    expect_key_refused(file, prefix + "attention.head_count_kv", 3u);
    expect_key_refused(file, prefix + "attention.key_length", 12u, "attention.value_length");
    expect_key_refused(file, prefix + "attention.layer_norm_rms_epsilon", 2.0f);
  }
}

TEST(HostileGguf, MissingAndExtraExperts) {
  for (const fs::path& model : {tiny_v3, tiny_v2, moe_models / "mixtral", moe_models / "qwen3moe"}) {
    SCOPED_TRACE(model);
    const EditedGguf whole(model);
    for (const char* part : {"gate", "up", "down"}) {
      const std::string name = std::string("blk.1.ffn_") + part + "_exps.weight";
      for (const int more : {-1, 1}) {
        EditedGguf file = whole;
        auto& tensor = file.tensors.at(name);
        const std::size_t one = tensor.data.size() / static_cast<std::size_t>(tensor.shape.front());
        tensor.shape.front() += more;
        tensor.data.resize(one * static_cast<std::size_t>(tensor.shape.front()));
        expect_refused(file.write(), name);
      }
      EditedGguf file = whole;
      file.tensors.erase(name);
      expect_refused(file.write(), name);
    }
    EditedGguf shared = whole;
    shared.tensors["blk.1.ffn_up_chexps.weight"] = shared.tensors.at("blk.1.ffn_up_exps.weight");
    expect_refused(shared.write(), "ffn_up_chexps");
  }
}

TEST(HostileGguf, ATensorForEachExpertBesideThoseOfAll) {
  EditedGguf file(moe_models / "mixtral");
  const auto& all = file.tensors.at("blk.1.ffn_up_exps.weight");
  file.tensors["blk.1.ffn_up.0.weight"] = {
      all.dtype,
      {all.shape[1], all.shape[2]},
      all.data.substr(0, all.data.size() / static_cast<std::size_t>(all.shape[0]))};
  expect_refused(file.write(), "blk.1.ffn_up.0.weight");
}

TEST(HostileGguf, NanInAGateOrItsBias) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* name : {"blk.2.ffn_gate_inp.weight", "blk.2.exp_probs_b.bias"}) {
      EditedGguf file(tiny_v3);
      set_value(file.tensors.at(name).data, 1, bad);
      expect_refused(file.write(), name);
    }
    for (const char* model : {"mixtral", "qwen3moe", "olmoe"}) {
      EditedGguf file(moe_models / model);
      set_value(file.tensors.at("blk.0.ffn_gate_inp.weight").data, 7, bad);
      expect_refused(file.write(), "blk.0.ffn_gate_inp.weight");
    }
  }
}

TEST(HostileGguf, ABiasOfTheGateOfAnotherLength) {
  EditedGguf file(tiny_v3);
  auto& bias = file.tensors.at("blk.1.exp_probs_b.bias");
  bias.shape = {7};
  bias.data.resize(28);
  expect_refused(file.write(), "blk.1.exp_probs_b.bias");
  EditedGguf missing(tiny_v3);
  missing.tensors.erase("blk.2.exp_probs_b.bias");
  expect_refused(missing.write(), "blk.2.exp_probs_b.bias");
}

TEST(HostileGguf, APartOfASplitModelIsMissing) {
  const TemporaryFolder folder;
  fs::copy_file(golden_dir() / "io/split/small-00001-of-00002.gguf", folder / "small-00001-of-00002.gguf");
  expect_refused(folder / "small-00001-of-00002.gguf", "small-00002-of-00002.gguf");
}

// ---- Hugging Face ----

void expect_field_refused(const std::string& model, const std::string& field, const nlohmann::json& value,
                          const std::string& named = "") {
  EditedFolder folder(moe_models / model);
  folder.config[field] = value;
  expect_refused(folder, named.empty() ? field : named);
}

TEST(HostileFolder, NumbersOfTheKindsWithExperts) {
  const std::pair<const char*, const char*> models[] = {{"mixtral", "num_local_experts"},
                                                        {"qwen3moe", "num_experts"},
                                                        {"qwen2moe", "num_experts"},
                                                        {"olmoe", "num_experts"}};
  for (const auto& [model, n_experts] : models) {
    SCOPED_TRACE(model);
    EditedFolder unchanged(moe_models / model);
    EXPECT_NO_THROW(load(unchanged.write()));
    const std::string found = unchanged.config.contains(n_experts)
                                  ? n_experts
                                  : (unchanged.config.contains("num_experts") ? "num_experts" : "num_local_experts");
    for (const int k : {17, 0, -1, 1 << 30}) expect_field_refused(model, "num_experts_per_tok", k);
    for (const int n : {0, -8, 1 << 30}) expect_field_refused(model, found, n);
    expect_field_refused(model, found, 5, "gate");
    expect_field_refused(model, "num_key_value_heads", 3);
    expect_field_refused(model, "rms_norm_eps", 0);
  }
  expect_field_refused("qwen3moe", "mlp_only_layers", {3});
  expect_field_refused("qwen3moe", "mlp_only_layers", "all");
  expect_field_refused("qwen3moe", "decoder_sparse_step", 0);
  expect_field_refused("qwen3moe", "decoder_sparse_step", -2);
  expect_field_refused("qwen3moe", "moe_intermediate_size", -16);
  expect_field_refused("qwen3moe", "head_dim", 12);
}

TEST(HostileFolder, MissingAndExtraExpertsAndNanInAGate) {
  const std::pair<const char*, const char*> models[] = {
      {"mixtral", "block_sparse_moe"}, {"qwen3moe", "mlp"}, {"olmoe", "mlp"}};
  for (const auto& [model, block] : models) {
    SCOPED_TRACE(model);
    const std::string layer = std::string("model.layers.1.") + block + ".";
    const std::string up = std::string(block) == "mlp" ? ".up_proj.weight" : ".w3.weight";
    EditedFolder missing(moe_models / model);
    ASSERT_EQ(missing.tensors.erase(layer + "experts.2" + up), 1u);
    expect_refused(missing, layer + "experts.2" + up);
    EditedFolder extra(moe_models / model);
    extra.tensors[layer + "experts.99" + up] = extra.tensors.at(layer + "experts.2" + up);
    expect_refused(extra, layer + "experts.99" + up);
    EditedFolder nan(moe_models / model);
    std::string& data = nan.tensors.at(layer + "gate.weight").data;
    data[2] = static_cast<char>(0xff);  // BF16 0x7fff
    data[3] = 0x7f;
    expect_refused(nan, layer + "gate.weight");
  }
}

TEST(HostileFolder, AShardIsMissing) {
  const TemporaryFolder folder;
  for (const char* name : {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"})
    fs::copy_file(golden_dir() / "io/hf_sharded" / name, folder / name);
  expect_refused(folder.path(), "model-00002-of-00002.safetensors");
  fs::remove(folder / "model.safetensors.index.json");
  expect_refused(folder.path(), "model.safetensors.index.json");
}

// ---- what is converted ----

/// Converting fails with the name, and nothing is written.
void expect_not_converted(EditedFolder& folder, const std::string& named) {
  const TemporaryFolder out;
  try {
    convert(Checkpoint::open(folder.write()), out / "x.gguf", {});
    ADD_FAILURE() << "converted in spite of " << named;
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::internal);
    EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
  }
  EXPECT_TRUE(fs::is_empty(out.path()));
}

TEST(HostileFolder, IsNotConverted) {
  EditedFolder top_k(tiny_v3);
  top_k.config["num_experts_per_tok"] = 9;
  expect_not_converted(top_k, "num_experts_per_tok");
  const std::string expert = "model.layers.1.mlp.experts.7.up_proj.weight";
  EditedFolder missing(tiny_v3);
  missing.tensors.erase(expert);
  expect_not_converted(missing, expert);
  EditedFolder nan(tiny_v3);
  for (const char* name : {"model.layers.2.mlp.gate.weight", "model.layers.2.mlp.gate.e_score_correction_bias"}) {
    std::string& data = nan.tensors.at(name).data;
    const std::string before = data;
    data[data.size() - 1] = 0x7f;
    data[data.size() - 2] = static_cast<char>(0xff);
    expect_not_converted(nan, std::string(name).find("bias") != std::string::npos ? "exp_probs_b" : "ffn_gate_inp");
    data = before;
  }
  // One matrix in FP8, with factors for another size.
  EditedFolder scales(tiny_v3);
  const std::string matrix = "model.layers.0.mlp.down_proj.weight";
  auto& tensor = scales.tensors.at(matrix);
  tensor.dtype = "F8_E4M3";
  tensor.data.resize(tensor.data.size() / 2);
  scales.config["quantization_config"] = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};
  scales.tensors[matrix + "_scale_inv"] = {"F32", {2, 1}, std::string(8, '\0')};
  expect_not_converted(scales, matrix + "_scale_inv");
}

}  // namespace
}  // namespace moebox::test

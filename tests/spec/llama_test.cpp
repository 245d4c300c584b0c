// Models of the Llama kind whose files say what their tensors are not, or ask for what is not implemented: refused at
// load, by name.
#include "spec/llama.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "models/model.h"
#include "spec/edited_model.h"

namespace moebox {
namespace {

using test::edit_gguf_numbers;
using test::EditedFolder;
using test::expect_refused;
using test::load;

namespace fs = std::filesystem;

const fs::path llamas = MOEBOX_TEST_DIR "/golden/transformers/models";

std::string bytes_of(std::size_t n_values) { return std::string(n_values * sizeof(float), '\0'); }

TEST(LlamaTensors, ABiasThatTheConfigDeniesIsRefused) {
  EditedFolder folder(llamas / "llama_gqa");
  EXPECT_NO_THROW(load(folder.write()));
  const auto& norm = folder.tensors.at("model.layers.0.input_layernorm.weight");
  folder.config["attention_bias"] = false;
  folder.tensors["model.layers.0.self_attn.o_proj.bias"] = {"F32", norm.shape,
                                                            bytes_of(static_cast<std::size_t>(norm.shape[0]))};
  expect_refused(folder, "model.layers.0.self_attn.o_proj.bias");
}

TEST(LlamaTensors, ABiasThatTheConfigPromisesMustBeThere) {
  EditedFolder folder(llamas / "llama_gqa");
  folder.config["attention_bias"] = true;
  expect_refused(folder, "_proj.bias");
}

TEST(LlamaTensors, ATiedModelMayCarryACopyOfItsEmbedding) {
  EditedFolder folder(llamas / "qwen2_tied");
  folder.tensors["lm_head.weight"] = folder.tensors.at("model.embed_tokens.weight");
  EXPECT_NO_THROW(load(folder.write()));
}

TEST(LlamaTensors, ALayersNumberInANameIsNotBelieved) {
  for (const char* number : {"2", "-1", "00", "4294967296", "18446744073709551616", "1e0", ""}) {
    EditedFolder folder(llamas / "llama_gqa");
    ASSERT_EQ(folder.config.at("num_hidden_layers"), 2);
    const std::string name = std::string("model.layers.") + number + ".input_layernorm.weight";
    folder.tensors[name] = folder.tensors.at("model.layers.0.input_layernorm.weight");
    expect_refused(folder, name);
  }
}

TEST(LlamaSizes, ThoseOfAFolderThatWouldDivideByZeroOrOverflowAreRefused) {
  for (const char* field : {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size",
                            "intermediate_size", "vocab_size", "max_position_embeddings"}) {
    for (const std::int64_t size : {0l, -1l, 1l << 31, 1l << 62}) {
      EditedFolder folder(llamas / "llama_gqa");
      ASSERT_TRUE(folder.config.contains(field));
      folder.config[field] = size;
      expect_refused(folder, field);
    }
  }
}

class LlamaGguf : public testing::Test {
 protected:
  ~LlamaGguf() override { fs::remove(path_); }
  void expect_key_refused(const std::string& key, std::uint32_t value) {
    edit_gguf_numbers(llamas / "llama_gqa/f16.gguf", path_,
                      {{"llama.expert_count", 4u}, {"llama.expert_used_count", 2u}, {key, value}});
    expect_refused(path_, key);
  }
  const fs::path path_ = fs::temp_directory_path() / ("moebox_gate_" + std::to_string(::getpid()) + ".gguf");
};

TEST_F(LlamaGguf, SizesThatWouldDivideByZeroOrOverflowAreRefused) {
  for (const char* key :
       {"llama.block_count", "llama.attention.head_count", "llama.attention.head_count_kv", "llama.embedding_length",
        "llama.feed_forward_length", "llama.context_length", "llama.rope.dimension_count"}) {
    for (const std::uint32_t size : {0u, 1u << 31, 0xffffffffu}) {
      edit_gguf_numbers(llamas / "llama_gqa/f16.gguf", path_, {{key, size}});
      expect_refused(path_, key);
    }
  }
}

TEST_F(LlamaGguf, AGateOfAnotherThanASoftmaxIsRefused) {
  expect_key_refused("llama.expert_gating_func", 2);
  expect_key_refused("llama.expert_group_count", 2);
}

}  // namespace
}  // namespace moebox

// What plan_model() says of a model's memory is what load_model() takes, for every architecture and format.
#include <algorithm>
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "models/model.h"
#include "runtime/engine.h"
#include "spec/edited_model.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> all_models() {
  std::vector<fs::path> found;
  for (const char* area : {"transformers", "moe", "deepseek"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(MOEBOX_TEST_DIR "/golden") / area / "models")) {
      if (entry.path().filename() == "config.json") found.push_back(entry.path().parent_path());
      if (entry.path().extension() == ".gguf") found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(Plan, SaysWhatLoadingTakes) {
  const std::vector<fs::path> models = all_models();
  ASSERT_GE(models.size(), 20u);
  ThreadTeam team(2);
  for (const fs::path& path : models) {
    SCOPED_TRACE(path.string());
    const Checkpoint checkpoint = Checkpoint::open(path);
    const auto planned = plan_model(checkpoint), loaded = load_model(checkpoint, team);
    EXPECT_GT(planned->info().weight_bytes, 0u);
    EXPECT_EQ(planned->info().weight_bytes, loaded->info().weight_bytes);
    EXPECT_EQ(planned->info().mapped_bytes, loaded->info().mapped_bytes);
    EngineOptions options;
    options.context_tokens = 64;
    options = options.resolved(planned->info(), 2);
    EXPECT_GT(options.step_bytes(*planned), 0u);
    EXPECT_EQ(options.step_bytes(*planned), options.step_bytes(*loaded));
  }
}

// Both forms of latent attention are packed, and the transposed one in a type of its own: more than the file.
TEST(Plan, CountsBothFormsOfLatentAttention) {
  const Checkpoint checkpoint = Checkpoint::open(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3");
  const std::size_t stored_bytes = checkpoint.tensor("model.layers.0.self_attn.kv_b_proj.weight").data.size();
  // The key's part of kv_b: 16 of a head's 16 + 24 rows.
  const ModelInfo info = plan_model(checkpoint)->info();
  std::size_t matrices = 0;
  for (const TensorView& tensor : checkpoint.tensors())
    if (tensor.rank == 2 && tensor.name.find("layers.3.") == std::string::npos) matrices += tensor.data.size();
  EXPECT_GE(info.weight_bytes + info.mapped_bytes,
            matrices + static_cast<std::size_t>(info.n_layers) * stored_bytes * 16 / 40);
}

// Every matrix but the embedding and the output, and as many experts as a token has.
TEST(Plan, CountsTheMultiplyAddsOfAPromptsToken) {
  for (const char* model : {"transformers/models/llama_gqa", "moe/models/qwen2moe", "deepseek/models/tiny-v3"}) {
    SCOPED_TRACE(model);
    const Checkpoint checkpoint = Checkpoint::open(fs::path(MOEBOX_TEST_DIR "/golden") / model);
    const ModelInfo info = plan_model(checkpoint)->info();
    std::int64_t expected = 0;
    for (const TensorView& tensor : checkpoint.tensors()) {
      const auto has = [&](const std::string& part) { return tensor.name.find(part) != std::string::npos; };
      if (tensor.rank != 2 || has("embed_tokens") || has("lm_head") || has("shared_expert_gate")) continue;
      if (has("layers." + std::to_string(info.n_layers) + ".")) continue;  // predicts further tokens
      expected += has(".experts.0.") ? tensor.n_elements() * info.moe.top_k
                  : has(".experts.") ? 0
                                     : tensor.n_elements();
    }
    EXPECT_EQ(info.products_per_prompt_token, expected);
  }
}

// A gate's own attention is read by every token: the model without it reads less, by its three matrices of 24 x 32.
TEST(Plan, CountsWhatATokenReadsOfAGateAttention) {
  test::EditedFolder folder(std::filesystem::path(MOEBOX_TEST_DIR "/golden/moe/models/qwen3moe_attention"));
  const ModelInfo with = plan_model(Checkpoint::open(folder.write()))->info();
  folder.config.erase("gate_attention");
  std::erase_if(folder.tensors,
                [](const auto& tensor) { return tensor.first.find("gate_attention") != std::string::npos; });
  auto& router = folder.tensors.at("model.layers.1.mlp.gate.weight");
  ASSERT_EQ(router.shape, (std::vector<std::int64_t>{8, 24}));
  router = {router.dtype, {8, 32}, std::string(router.data.size() / 24 * 32, '\0')};
  const ModelInfo without = plan_model(Checkpoint::open(folder.write()))->info();
  ASSERT_EQ(with.moe.n_layers, 1);
  // In the file's two bytes a value, or more; the router's rows are shorter by 8 values, of at most four bytes, in a
  // panel of 32 rows.
  EXPECT_GE(with.read_bytes_per_token, without.read_bytes_per_token + 3 * 24 * 32 * 2 - 32 * 8 * 4);
  EXPECT_LT(with.read_bytes_per_token, with.weight_bytes);
}

}  // namespace
}  // namespace moebox

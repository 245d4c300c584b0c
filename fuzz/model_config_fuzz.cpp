// Any config.json beside the tensors of a tiny DeepSeek: it is refused with an Error, or the model loads and computes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/checkpoint.h"
#include "memory_folder.h"
#include "models/model.h"

namespace {

/// One prompt token and one generated one, and what comes behind by the draft layer, where there is one.
void compute(const moebox::Model& model, moebox::ThreadTeam& team) {
  const moebox::ModelInfo& info = model.info();
  const auto workspace = model.make_workspace(2, 1, 2, 1);
  std::vector<std::byte> cache(info.kv_block_bytes());
  const moebox::KvBlocks kv{cache.data(), 1, info.kv.block_bytes()};
  const std::vector<moebox::TokenId> tokens = {0, info.vocab_size - 1};
  const std::vector<int> rows = {1}, blocks = {0};
  const moebox::BatchSpan spans[] = {{0, 1, 0, blocks, moebox::Role::prompt, {}},
                                     {1, 1, 1, blocks, moebox::Role::generated, {}}};
  std::vector<float> logits(static_cast<std::size_t>(info.vocab_size));
  model.forward(team, *workspace, kv, {tokens, spans, rows, logits.data(), {}});
  if (info.n_draft_layers == 0) return;
  const moebox::BatchSpan pair[] = {{0, 1, 1, blocks, moebox::Role::generated, {}}};
  const std::vector<int> first = {0};
  model.draft(team, *workspace, kv, {{std::span(tokens).last(1), pair, first, logits.data(), {}}, first});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const moebox::MemoryFolder folder;
  static const bool has_tensors = std::filesystem::copy_file(
      MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3-mtp/model.safetensors", folder / "model.safetensors");
  if (!has_tensors) std::abort();
  static moebox::ThreadTeam team(1);
  std::ofstream(folder / "config.json", std::ios::binary)
      << std::string_view(reinterpret_cast<const char*>(data), size);
  for (const bool with_draft_layer : {false, true}) {
    try {
      moebox::ModelOptions options;
      options.draft_layer = with_draft_layer;
      const auto checkpoint = moebox::Checkpoint::open(folder.path());
      compute(*moebox::load_model(checkpoint, team, options), team);
    } catch (const moebox::Error&) {
    }
  }
  return 0;
}

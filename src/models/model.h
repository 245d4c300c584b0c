// A loaded architecture: packed weights and one forward. It knows token ids and KV blocks; nothing of requests or text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "models/packing.h"
#include "routing/budget.h"

namespace moebox {

class Checkpoint;
using TokenId = std::int32_t;

/// The experts of a model, where it has any.
struct MoeInfo {
  int n_layers = 0;                        // with experts; 0: a dense model
  int n_experts = 0;                       // routed experts of such a layer
  int top_k = 0;                           // of which a token takes so many
  std::int64_t parameters_per_expert = 0;  // of one layer
};

/// What the rest of the program needs to know of a model.
struct ModelInfo {
  std::string architecture;
  int vocab_size = 0;
  int max_context = 0;  // tokens, as trained (with its RoPE scaling)
  int n_layers = 0;
  int hidden_size = 0;
  std::int64_t n_parameters = 0;
  std::size_t weight_bytes = 0;  // packed weights in memory
  std::size_t mapped_bytes = 0;  // of the file, read where it is mapped
  // Of the packed weights, with the model's own experts: what one generated token reads, and the multiply-adds of a
  // prompt's token, which needs no logits.
  std::size_t read_bytes_per_token = 0;
  std::int64_t products_per_prompt_token = 0;
  KvShape kv;
  MoeInfo moe;
  bool roles_matter = false;  // prompt and answer are computed differently (docs/determinism.md)
  int batch_tokens = 512;     // of a step of a long prompt: more bring it nothing
  KvShape gate_kv;            // of the gates' own attention, in every layer with experts; n_kv_heads 0: none
  int n_mtp_layers = 0;       // of the files: layers that predict further tokens
  int n_draft_layers = 0;     // of these, loaded: 1, or 0 where it was not asked for

  /// Layers that have keys and values in the cache.
  int n_kv_layers() const noexcept { return n_layers + n_draft_layers; }
  /// A block's last row of hidden_size floats, with which the draft layer goes on in the next block; 0: no such layer.
  std::size_t draft_row_bytes() const noexcept {
    return static_cast<std::size_t>(n_draft_layers) * static_cast<std::size_t>(hidden_size) * sizeof(float);
  }
  /// One block of all layers.
  std::size_t kv_block_bytes() const noexcept {
    return kv.block_bytes() * static_cast<std::size_t>(n_kv_layers()) +
           gate_kv.block_bytes() * static_cast<std::size_t>(moe.n_layers) + draft_row_bytes();
  }
};

/// What an expert cache has done since the model was loaded.
struct ExpertCacheStats {
  std::size_t capacity_bytes = 0;      // 0: there is none
  std::size_t slots = 0;               // experts that it holds, of all layers together
  std::uint64_t hits = 0, misses = 0;  // experts of layers that steps wanted: there, or to be read first
  std::uint64_t read_bytes = 0;
  double waited_ms = 0;  // in which steps had nothing else to do

  double hit_rate() const noexcept {
    return hits + misses == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(hits + misses);
  }
};

/// KV blocks in memory, by number. A block holds kv_block_tokens positions of every layer; those of the gates' own
/// attention lie behind those of the layers (gate_blocks()), and what the draft layer needs behind these
/// (draft_rows()).
struct KvBlocks {
  std::byte* data = nullptr;  // (n_kv_layers, n_blocks, block_bytes)
  int n_blocks = 0;
  std::size_t block_bytes = 0;  // of one layer

  std::byte* block(int layer, int index) const noexcept {
    return data +
           (static_cast<std::size_t>(layer) * static_cast<std::size_t>(n_blocks) + static_cast<std::size_t>(index)) *
               block_bytes;
  }
};

/// The part of the cache that belongs to the gates: (moe.n_layers, n_blocks, gate_kv.block_bytes()).
inline KvBlocks gate_blocks(const ModelInfo& info, const KvBlocks& kv) noexcept {
  return {kv.block(info.n_kv_layers(), 0), kv.n_blocks, info.gate_kv.block_bytes()};
}

/// The last part of the cache: (n_blocks, draft_row_bytes()), what the model says of a block's last position.
inline KvBlocks draft_rows(const ModelInfo& info, const KvBlocks& kv) noexcept {
  const KvBlocks gates = gate_blocks(info, kv);
  return {gates.block(info.moe.n_layers, 0), kv.n_blocks, info.draft_row_bytes()};
}

/// Whether a token came with the prompt or was generated: some architectures compute the two differently
/// (docs/determinism.md).
enum class Role : std::uint8_t { prompt, generated };

/// Consecutive tokens of one sequence within a batch.
struct BatchSpan {
  int first_token = 0;  // index into Batch::tokens
  int n_tokens = 0;
  int first_position = 0;
  std::span<const int> blocks;  // the sequence's KV blocks, covering first_position + n_tokens positions
  Role role = Role::prompt;
  RoutingBudget budget{};  // on the experts of these tokens; the same for all tokens of a sequence
};

/// What the gates chose in a step, for those who want to know. Memory of the caller's.
struct RoutingRecord {
  std::int32_t* experts = nullptr;  // (moe.n_layers, n_tokens, moe.top_k), ascending; -1 where a budget took fewer
  float* dropped = nullptr;         // (moe.n_layers, n_tokens): share of the gate's mass that the budget dropped
};

/// A ragged batch: the tokens of all sequences in one list, no padding.
struct Batch {
  std::span<const TokenId> tokens;
  std::span<const BatchSpan> spans;
  std::span<const int> logit_rows;  // indices of the tokens whose logits are wanted, ascending
  float* logits = nullptr;          // (logit_rows.size(), vocab_size)
  RoutingRecord routing{};          // filled where its pointers are set, and the model has experts
};

/// Pairs for the draft layer: what the model says of a position, and the token at the next one, where the pair stands
/// (docs/speculation.md). No pair stands at position 0.
struct DraftBatch {
  /// The tokens of the pairs, and where they stand; spans[].first_position >= 1. Without logit rows only the cache is
  /// filled, which is quick.
  Batch batch;
  /// (tokens.size()): where the position before has its row: i >= 0: in the last forward, as its token i; of_block: in
  /// the block that ends there; after_draft - i: in the last draft() with logits, as its token i.
  std::span<const int> sources;

  static constexpr int of_block = -1, after_draft = -2;
};

/// Memory of one step, allocated once.
class Workspace {
 public:
  virtual ~Workspace() = default;
  /// Bytes of its buffers, which become resident as far as batches fill them.
  virtual std::size_t size() const noexcept = 0;
  /// After a forward: throws Error(io) when a part of the weights could not be read. Then what it computed, in the
  /// cache too, is worthless; the next forward begins anew.
  virtual void check_step() const {}
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const noexcept = 0;
  /// Memory for batches of at most so many tokens, logit rows, and positions in a sequence.
  virtual std::unique_ptr<Workspace> make_workspace(int max_tokens, int max_logit_rows, int max_positions,
                                                    int n_threads) const = 0;
  /// Computes the batch: stores its keys and values in `kv` and the wanted logits. Token ids and block numbers must be
  /// valid.
  virtual void forward(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv,
                       const Batch& batch) const noexcept = 0;
  /// Where info().n_draft_layers is not 0: stores the pairs' keys and values in `kv`, and computes the wanted logits of
  /// the token behind each pair's own. Between two forwards, in the same workspace.
  virtual void draft(ThreadTeam& /*team*/, Workspace& /*workspace*/, const KvBlocks& /*kv*/,
                     const DraftBatch& /*pairs*/) const noexcept {}
  virtual ExpertCacheStats expert_cache() const noexcept { return {}; }
};

struct ModelOptions {
  KvType kv_type = KvType::f16;
  const KernelTable* kernels = nullptr;  // nullptr: kernel_table()
  PackFileUse pack_file = PackFileUse::off;
  /// Memory for routed experts, which are read from a pack file as they are needed; 0: all are in memory. A dense model
  /// ignores it.
  std::size_t expert_cache_bytes = 0;
  /// Loads the layer that predicts a further token, too; a model without one is refused.
  bool draft_layer = false;
};

/// What a checkpoint's model is, without loading it; weight_bytes and mapped_bytes are 0. Throws as load_model does.
ModelInfo describe_model(const Checkpoint& checkpoint, const ModelOptions& options = {});

/// The model as load_model() makes it, but for the weights: they are not packed. info() and make_workspace() say how
/// much memory it takes; forward() must not be called. Throws as load_model does.
std::unique_ptr<const Model> plan_model(const Checkpoint& checkpoint, const ModelOptions& options = {});

/// Loads and packs, or maps packed weights (packing.h). The checkpoint must outlive the model, which may read
/// embeddings from its mapping. Throws Error: unsupported for an architecture or feature that is not implemented, by
/// name.
std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, ThreadTeam& team,
                                        const ModelOptions& options = {});

}  // namespace moebox

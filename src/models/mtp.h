// What a layer for multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2) has beside an ordinary one: the
// projection of a pair (what the model says of a position, the next token) to a row that the layer takes in. It knows
// nothing of attention or experts.
#pragma once

#include <span>
#include <vector>

#include "models/embedding_and_head.h"
#include "models/step.h"
#include "models/weights.h"
#include "spec/tensor_table.h"

namespace moebox {

struct MtpWeights {
  std::vector<float> token_norm, hidden_norm;  // (hidden_size)
  PackedMatrix projection;                     // (hidden_size, 2 * hidden_size): the token's part comes first
  EmbeddingAndHead embedding_and_head;
};

/// Takes the tensors of layer number `layer` but for those that an ordinary one has, too. `weights` must stay where it
/// is. `model` is what the whole model begins and ends with.
void load_mtp(const EmbeddingAndHead& model, const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer,
              int layer, MtpWeights& weights);

/// Memory of a step: the rows of the last forward and of the last draft, until the next ones.
class MtpRunner {
 public:
  MtpRunner(ActivationTypes types, int max_tokens, int hidden_size);

  std::size_t size() const noexcept {  // bytes
    return activations_.size() + total_size({&rows_, &draft_rows_, &pairs_});
  }
  /// Keeps the rows x (n_tokens, hidden_size) of a forward, normed by the model's last norm, and those that end a block
  /// also in the cache. This member's share; a barrier must follow.
  void keep_rows(const Step& step, const AlignedBuffer& x, const std::vector<float>& norm, float epsilon,
                 const KvBlocks& block_rows) noexcept;
  /// The same of a draft's rows, normed by the layer's last norm.
  void keep_draft_rows(const Step& step, const AlignedBuffer& x, const std::vector<float>& norm,
                       float epsilon) noexcept;
  /// x (n_tokens, hidden_size) = the projected pairs of the step's tokens. All members call it; ends with a barrier.
  void project(const Step& step, const MtpWeights& weights, float epsilon, std::span<const int> sources,
               const KvBlocks& block_rows, const AlignedBuffer& x) noexcept;

 private:
  const float* source_row(int token, int source, const BatchSpan& span, const KvBlocks& block_rows) const noexcept;

  int hidden_size_;
  Activations activations_;
  AlignedBuffer rows_, draft_rows_;  // (max_tokens, hidden_size)
  AlignedBuffer pairs_;              // (max_tokens, 2 * hidden_size)
};

}  // namespace moebox

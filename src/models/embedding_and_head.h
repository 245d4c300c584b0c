// Both ends of a language model: ids to rows, rows to logits.
#pragma once

#include <vector>

#include "models/step.h"
#include "models/weights.h"
#include "spec/tensor_table.h"

namespace moebox {

class EmbeddingAndHead {
 public:
  /// Takes the tensors of the roles "embedding", "output_norm" and, where the model has one, "output". The output is
  /// packed by `packer`; rows of an embedding that is not tied to it are read from the checkpoint, which must outlive
  /// this.
  void load(const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer, float rms_epsilon);

  /// Bytes of the embedding where it is read from the checkpoint.
  std::size_t mapped_bytes() const noexcept { return embedding_ == nullptr ? 0 : embedding_->data.size(); }
  /// Of the packed output matrix.
  std::size_t head_bytes() const noexcept { return bytes_of(output_); }
  ActivationTypes activation_types() const { return {&output_}; }
  /// x (n_tokens, hidden_size): this member's rows; ends with a barrier.
  void embed(const Step& step, const AlignedBuffer& x) const noexcept;
  /// The batch's logits of rows of x. `normed` (n_logit_rows, hidden_size) is scratch. A barrier must follow.
  void logits(const Step& step, const AlignedBuffer& x, const AlignedBuffer& normed,
              const Activations& activations) const noexcept;

 private:
  float rms_epsilon_ = 0;
  std::vector<float> output_norm_;         // (hidden_size)
  PackedMatrix output_;                    // (vocab_size, hidden_size); the embedding, too, when they are tied
  const TensorView* embedding_ = nullptr;  // in the file; nullptr when tied
};

}  // namespace moebox

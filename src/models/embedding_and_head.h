// Both ends of a language model: ids to rows, rows to logits.
#pragma once

#include <span>
#include <vector>

#include "models/step.h"
#include "models/weights.h"
#include "spec/tensor_table.h"

namespace moebox {

class EmbeddingAndHead {
 public:
  EmbeddingAndHead() = default;
  EmbeddingAndHead(const EmbeddingAndHead&) = delete;  // others point into it
  EmbeddingAndHead& operator=(const EmbeddingAndHead&) = delete;

  /// Takes the tensors of the roles "embedding", "output_norm" and, where the model has one, "output". The output is
  /// packed by `packer`; rows of an embedding that is not tied to it are read from the checkpoint, which must outlive
  /// this.
  void load(const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer, float rms_epsilon);

  /// The same of the layer that predicts a further token: "mtp_output_norm", and "mtp_embedding" and "mtp_output" where
  /// the files have them. Where not, or where the output is a copy of the model's, it is the model's, which has been
  /// loaded and must outlive this.
  void load_draft(const EmbeddingAndHead& model, const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer,
                  int layer);

  /// Bytes of the embedding where it is read from the checkpoint.
  std::size_t mapped_bytes() const noexcept { return embedding_ == nullptr ? 0 : embedding_->data.size(); }
  /// Of the packed output matrix.
  std::size_t head_bytes() const noexcept { return bytes_of(*head_); }
  ActivationTypes activation_types() const { return {head_}; }
  const std::vector<float>& output_norm() const noexcept { return output_norm_; }
  /// x (n_tokens, hidden_size): this member's rows; ends with a barrier.
  void embed(const Step& step, const AlignedBuffer& x) const noexcept;
  /// One token's row (hidden_size).
  void embed_token(TokenId token, float* row) const noexcept;
  /// The batch's logits of rows of x. `normed` (n_logit_rows, hidden_size) is scratch. A barrier must follow.
  void logits(const Step& step, const AlignedBuffer& x, const AlignedBuffer& normed,
              const Activations& activations) const noexcept;

 private:
  std::span<const std::byte> stored_row(TokenId token) const noexcept;

  float rms_epsilon_ = 0;
  std::vector<float> output_norm_;         // (hidden_size)
  PackedMatrix output_;                    // (vocab_size, hidden_size); the embedding, too, when they are tied
  const PackedMatrix* head_ = &output_;    // or the model's, of a draft layer
  const TensorView* embedding_ = nullptr;  // in the file; nullptr when tied
  const TensorView* stored_output_ = nullptr;
  const EmbeddingAndHead* model_ = nullptr;  // whose embedding it is, of a draft layer
};

}  // namespace moebox

#include "models/embedding_and_head.h"

#include <cstring>

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "tensor/dequantize.h"

namespace moebox {

namespace {

void refuse_fp8(const TensorView& embedding) {
  if (embedding.dtype == DType::f8_e4m3)
    throw Error(ErrorKind::unsupported, "an embedding in FP8 is not implemented", "tensor " + embedding.name);
}

bool is_copy(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.data.size() == b.data.size() &&
         std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0;
}

}  // namespace

void EmbeddingAndHead::load(const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer, float rms_epsilon) {
  rms_epsilon_ = rms_epsilon;
  output_norm_ = to_floats(&find.get("output_norm"));
  const TensorView& embedding = find.get("embedding");
  refuse_fp8(embedding);
  const TensorView* output = find.find("output");
  embedding_ = output == nullptr ? nullptr : &embedding;
  if (embedding_ != nullptr) checkpoint.expect_random_reads(embedding);
  stored_output_ = output == nullptr ? &embedding : output;
  packer.add(*stored_output_, &output_);
}

void EmbeddingAndHead::load_draft(const EmbeddingAndHead& model, const Checkpoint& checkpoint, TensorFinder& find,
                                  WeightPacker& packer, int layer) {
  rms_epsilon_ = model.rms_epsilon_;
  output_norm_ = to_floats(&find.get("mtp_output_norm", layer));
  embedding_ = find.find("mtp_embedding", layer);
  if (embedding_ != nullptr) {
    refuse_fp8(*embedding_);
    checkpoint.expect_random_reads(*embedding_);
  }
  model_ = embedding_ == nullptr ? &model : nullptr;
  stored_output_ = find.find("mtp_output", layer);
  if (stored_output_ == nullptr || is_copy(*stored_output_, *model.stored_output_))
    head_ = &model.output_;
  else
    packer.add(*stored_output_, &output_);
}

std::span<const std::byte> EmbeddingAndHead::stored_row(TokenId token) const noexcept {
  const std::size_t bytes = embedding_->data.size() / static_cast<std::size_t>(head_->n_rows);
  return embedding_->data.subspan(static_cast<std::size_t>(token) * bytes, bytes);
}

void EmbeddingAndHead::embed_token(TokenId token, float* row) const noexcept {
  if (model_ != nullptr)
    model_->embed_token(token, row);
  else if (embedding_ == nullptr)
    unpack_row(output_, token, row);
  else
    dequantize_row(embedding_->dtype, stored_row(token).data(), row, static_cast<std::size_t>(head_->n_columns));
}

void EmbeddingAndHead::embed(const Step& step, const AlignedBuffer& x) const noexcept {
  const auto part = step.member.part(step.n_tokens());
  const auto token = [&](int t) { return step.batch.tokens[static_cast<std::size_t>(t)]; };
  // Rows that are not in memory are read side by side, not one after another.
  if (embedding_ != nullptr && part.last - part.first > 1)
    for (int t = part.first; t < part.last; ++t) MappedFile::prefetch(stored_row(token(t)));
  for (int t = part.first; t < part.last; ++t) embed_token(token(t), row_of(x, t, head_->n_columns));
  step.member.wait();
}

void EmbeddingAndHead::logits(const Step& step, const AlignedBuffer& x, const AlignedBuffer& normed,
                              const Activations& activations) const noexcept {
  const int n_rows = static_cast<int>(step.batch.logit_rows.size()), hidden = head_->n_columns;
  if (n_rows == 0) return;
  const auto part = step.member.part(n_rows);
  for (int i = part.first; i < part.last; ++i)
    step.kernels.rms_norm(row_of(x, step.batch.logit_rows[static_cast<std::size_t>(i)], hidden), output_norm_.data(),
                          rms_epsilon_, hidden, row_of(normed, i, hidden));
  activations.quantize_rows(step.kernels, {head_}, normed.floats(), hidden, n_rows, hidden, part.first, part.last);
  step.member.wait();
  multiply(step.member, step.kernels, activations, n_rows, {{head_, step.batch.logits, head_->n_rows}});
}

}  // namespace moebox

#include "models/embedding_and_head.h"

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "tensor/dequantize.h"

namespace moebox {

void EmbeddingAndHead::load(const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer, float rms_epsilon) {
  rms_epsilon_ = rms_epsilon;
  output_norm_ = to_floats(&find.get("output_norm"));
  const TensorView& embedding = find.get("embedding");
  if (embedding.dtype == DType::f8_e4m3)
    throw Error(ErrorKind::unsupported, "an embedding in FP8 is not implemented", "tensor " + embedding.name);
  const TensorView* output = find.find("output");
  embedding_ = output == nullptr ? nullptr : &embedding;
  if (embedding_ != nullptr) checkpoint.expect_random_reads(embedding);
  packer.add(output == nullptr ? embedding : *output, &output_);
}

void EmbeddingAndHead::embed(const Step& step, const AlignedBuffer& x) const noexcept {
  const auto part = step.member.part(step.n_tokens());
  const int hidden = output_.n_columns;
  const auto stored_row = [&](int t) {
    const std::size_t bytes = embedding_->data.size() / static_cast<std::size_t>(output_.n_rows);
    return embedding_->data.subspan(static_cast<std::size_t>(step.batch.tokens[static_cast<std::size_t>(t)]) * bytes,
                                    bytes);
  };
  // Rows that are not in memory are read side by side, not one after another.
  if (embedding_ != nullptr && part.last - part.first > 1)
    for (int t = part.first; t < part.last; ++t) MappedFile::prefetch(stored_row(t));
  for (int t = part.first; t < part.last; ++t) {
    float* row = row_of(x, t, hidden);
    if (embedding_ == nullptr)
      unpack_row(output_, step.batch.tokens[static_cast<std::size_t>(t)], row);
    else
      dequantize_row(embedding_->dtype, stored_row(t).data(), row, static_cast<std::size_t>(hidden));
  }
  step.member.wait();
}

void EmbeddingAndHead::logits(const Step& step, const AlignedBuffer& x, const AlignedBuffer& normed,
                              const Activations& activations) const noexcept {
  const int n_rows = static_cast<int>(step.batch.logit_rows.size()), hidden = output_.n_columns;
  if (n_rows == 0) return;
  const auto part = step.member.part(n_rows);
  for (int i = part.first; i < part.last; ++i)
    step.kernels.rms_norm(row_of(x, step.batch.logit_rows[static_cast<std::size_t>(i)], hidden), output_norm_.data(),
                          rms_epsilon_, hidden, row_of(normed, i, hidden));
  activations.quantize_rows(step.kernels, {&output_}, normed.floats(), hidden, n_rows, hidden, part.first, part.last);
  step.member.wait();
  multiply(step.member, step.kernels, activations, n_rows, {{&output_, step.batch.logits, output_.n_rows}});
}

}  // namespace moebox

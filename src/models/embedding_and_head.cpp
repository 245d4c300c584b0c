#include "models/embedding_and_head.h"

#include "base/error.h"
#include "tensor/dequantize.h"

namespace moebox {

void EmbeddingAndHead::load(TensorFinder& find, WeightPacker& packer, float rms_epsilon) {
  rms_epsilon_ = rms_epsilon;
  output_norm_ = to_floats(&find.get("output_norm"));
  const TensorView& embedding = find.get("embedding");
  if (embedding.dtype == DType::f8_e4m3)
    throw Error(ErrorKind::unsupported, "an embedding in FP8 is not implemented", "tensor " + embedding.name);
  const TensorView* output = find.find("output");
  embedding_ = output == nullptr ? nullptr : &embedding;
  packer.add(output == nullptr ? embedding : *output, &output_);
}

void EmbeddingAndHead::embed(const Step& step, const AlignedBuffer& x) const noexcept {
  const auto part = step.member.part(step.n_tokens());
  const int hidden = output_.n_columns;
  for (int t = part.first; t < part.last; ++t) {
    const TokenId id = step.batch.tokens[static_cast<std::size_t>(t)];
    float* row = row_of(x, t, hidden);
    if (embedding_ == nullptr) {
      unpack_row(output_, id, row);
    } else {
      const std::size_t bytes = embedding_->data.size() / static_cast<std::size_t>(output_.n_rows);
      dequantize_row(embedding_->dtype, embedding_->data.data() + static_cast<std::size_t>(id) * bytes, row,
                     static_cast<std::size_t>(hidden));
    }
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

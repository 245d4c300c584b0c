#include "models/mtp.h"

#include <cstring>

namespace moebox {

void load_mtp(const EmbeddingAndHead& model, const Checkpoint& checkpoint, TensorFinder& find, WeightPacker& packer,
              int layer, MtpWeights& weights) {
  weights.token_norm = to_floats(&find.get("mtp_token_norm", layer));
  weights.hidden_norm = to_floats(&find.get("mtp_hidden_norm", layer));
  packer.add(stored_matrix(find, find.get("mtp_projection", layer)), &weights.projection);
  weights.embedding_and_head.load_draft(model, checkpoint, find, packer, layer);
}

MtpRunner::MtpRunner(ActivationTypes types, int max_tokens, int hidden_size)
    : hidden_size_(hidden_size),
      activations_(types, max_tokens, 2 * hidden_size),
      rows_(float_rows(max_tokens, hidden_size)),
      draft_rows_(float_rows(max_tokens, hidden_size)),
      pairs_(float_rows(max_tokens, 2 * hidden_size)) {}

void MtpRunner::keep_rows(const Step& step, const AlignedBuffer& x, const std::vector<float>& norm, float epsilon,
                          const KvBlocks& block_rows) noexcept {
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int i = part.first; i < part.last; ++i) {
      const int t = span.first_token + i, position = span.first_position + i;
      float* row = row_of(rows_, t, hidden_size_);
      step.kernels.rms_norm(row_of(x, t, hidden_size_), norm.data(), epsilon, hidden_size_, row);
      if ((position + 1) % kv_block_tokens == 0)
        std::memcpy(block_rows.block(0, span.blocks[static_cast<std::size_t>(position / kv_block_tokens)]), row,
                    block_rows.block_bytes);
    }
  }
}

void MtpRunner::keep_draft_rows(const Step& step, const AlignedBuffer& x, const std::vector<float>& norm,
                                float epsilon) noexcept {
  const auto part = step.member.part(step.n_tokens());
  for (int t = part.first; t < part.last; ++t)
    step.kernels.rms_norm(row_of(x, t, hidden_size_), norm.data(), epsilon, hidden_size_,
                          row_of(draft_rows_, t, hidden_size_));
}

const float* MtpRunner::source_row(int token, int source, const BatchSpan& span,
                                   const KvBlocks& block_rows) const noexcept {
  if (source >= 0) return row_of(rows_, source, hidden_size_);
  if (source <= DraftBatch::after_draft) return row_of(draft_rows_, DraftBatch::after_draft - source, hidden_size_);
  const int before = span.first_position + token - span.first_token - 1;
  return reinterpret_cast<const float*>(
      block_rows.block(0, span.blocks[static_cast<std::size_t>(before / kv_block_tokens)]));
}

void MtpRunner::project(const Step& step, const MtpWeights& weights, float epsilon, std::span<const int> sources,
                        const KvBlocks& block_rows, const AlignedBuffer& x) noexcept {
  const int hidden = hidden_size_, n_tokens = step.n_tokens();
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int t = span.first_token + part.first; t < span.first_token + part.last; ++t) {
      float* pair = row_of(pairs_, t, 2 * hidden);
      weights.embedding_and_head.embed_token(step.batch.tokens[static_cast<std::size_t>(t)], pair);
      step.kernels.rms_norm(pair, weights.token_norm.data(), epsilon, hidden, pair);
      const float* row = source_row(t, sources[static_cast<std::size_t>(t)], span, block_rows);
      step.kernels.rms_norm(row, weights.hidden_norm.data(), epsilon, hidden, pair + hidden);
    }
  }
  step.member.wait();
  const auto part = step.member.part(n_tokens);
  activations_.quantize_rows(step.kernels, {&weights.projection}, pairs_.floats(), 2 * hidden, n_tokens, 2 * hidden,
                             part.first, part.last);
  step.member.wait();
  multiply(step.member, step.kernels, activations_, n_tokens, {{&weights.projection, x.floats(), hidden}});
  step.member.wait();
}

}  // namespace moebox

#include "models/gate_attention.h"

#include <cmath>

#include "models/router_matrix.h"

namespace moebox {

void load_gate_attention(TensorFinder& find, WeightPacker& packer, int layer, GateAttentionWeights& weights) {
  packer.add(router_matrix(find, "router_q", layer), &weights.q);
  packer.add(router_matrix(find, "router_k", layer), &weights.k);
  packer.add(router_matrix(find, "router_v", layer), &weights.v);
}

KvShape gate_kv_shape(const GateAttentionSpec& spec, KvType type) noexcept {
  KvShape shape;
  shape.type = type;
  shape.n_kv_heads = spec.n_heads;
  shape.head_dim = spec.head_dim;
  return shape;
}

GateAttention::GateAttention(const Sizes& sizes, int max_tokens, int max_positions, int n_threads)
    : sizes_(sizes),
      n_values_(sizes.kv.n_kv_heads * sizes.kv.head_dim),
      plan_({sizes.kv, sizes.kv.n_kv_heads, 1.0f / std::sqrt(static_cast<float>(sizes.kv.head_dim))}, max_tokens,
            max_positions, n_threads),
      activations_(sizes.types, max_tokens, sizes.hidden_size),
      q_(float_rows(max_tokens, n_values_)),
      k_(float_rows(max_tokens, n_values_)),
      v_(float_rows(max_tokens, n_values_)),
      attended_(float_rows(max_tokens, n_values_)) {}

std::size_t GateAttention::size() const noexcept {
  return plan_.size() + activations_.size() + total_size({&q_, &k_, &v_, &attended_});
}

void GateAttention::run(const Step& step, const GateAttentionWeights& weights, const KvBlocks& kv, int moe_layer,
                        const AlignedBuffer& normed) noexcept {
  const int n_tokens = step.n_tokens(), hidden = sizes_.hidden_size;
  const auto part = step.member.part(n_tokens);
  activations_.quantize_rows(step.kernels, weights.types(), normed.floats(), hidden, n_tokens, hidden, part.first,
                             part.last);
  step.member.wait();
  multiply(step.member, step.kernels, activations_, n_tokens,
           {{&weights.q, q_.floats(), n_values_},
            {&weights.k, k_.floats(), n_values_},
            {&weights.v, v_.floats(), n_values_}});
  step.member.wait();
  store(step, kv, moe_layer);
  step.member.wait();
  plan_.run(step.member, step.kernels, kv, moe_layer, step.batch, q_.floats(), attended_.floats());
  step.member.wait();
}

void GateAttention::store(const Step& step, const KvBlocks& kv, int moe_layer) noexcept {
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int i = part.first; i < part.last; ++i) {
      const int t = span.first_token + i, position = span.first_position + i;
      const int block = span.blocks[static_cast<std::size_t>(position / kv_block_tokens)];
      step.kernels.store_kv(sizes_.kv, row_of(k_, t, n_values_), row_of(v_, t, n_values_), kv.block(moe_layer, block),
                            position % kv_block_tokens);
    }
  }
}

}  // namespace moebox

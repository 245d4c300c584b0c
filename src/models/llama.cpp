#include "models/llama.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/checkpoint.h"
#include "models/attention.h"
#include "models/linear.h"
#include "models/rope_table.h"
#include "models/weights.h"
#include "tensor/dequantize.h"

namespace moebox {
namespace {

struct LlamaLayer {
  std::vector<float> attn_norm, ffn_norm;                  // (hidden_size)
  PackedMatrix q, k, v;                                    // (heads * head_dim, hidden_size)
  PackedMatrix attn_output;                                // (hidden_size, n_heads * head_dim)
  PackedMatrix gate, up;                                   // (intermediate_size, hidden_size)
  PackedMatrix down;                                       // (hidden_size, intermediate_size)
  std::vector<float> q_bias, k_bias, v_bias, output_bias;  // empty: none
  std::vector<float> gate_bias, up_bias, down_bias;
};

struct LlamaWorkspace final : Workspace {
  LlamaWorkspace(const LlamaSpec& spec, KvShape kv, ActivationTypes types, int max_tokens, int max_logit_rows,
                 int max_positions, int n_threads)
      : rope(spec.rope, max_tokens),
        attention({kv, spec.n_heads, 1.0f / std::sqrt(static_cast<float>(spec.head_dim))}, max_tokens, max_positions,
                  n_threads),
        activations(types, max_tokens,
                    std::max({spec.hidden_size, spec.intermediate_size, spec.n_heads * spec.head_dim})) {
    const auto rows = [](int n, int columns) {
      return AlignedBuffer(static_cast<std::size_t>(n) * static_cast<std::size_t>(columns) * sizeof(float));
    };
    const int q_size = spec.n_heads * spec.head_dim, kv_size = spec.n_kv_heads * spec.head_dim;
    x = rows(max_tokens, spec.hidden_size);
    normed = rows(std::max(max_tokens, max_logit_rows), spec.hidden_size);
    q = rows(max_tokens, q_size);
    k = rows(max_tokens, kv_size);
    v = rows(max_tokens, kv_size);
    attended = rows(max_tokens, q_size);
    projected = rows(max_tokens, spec.hidden_size);
    inner = rows(max_tokens, spec.intermediate_size);
    gate_up_floats = std::max(max_tokens * panel_rows, 64 << 10);
    gate_up = rows(n_threads, 2 * gate_up_floats);
  }

  /// Floats of gate (and of up) that one member holds before the activation: a few panels at a time, so that they stay
  /// in its cache.
  int gate_up_floats;

  RopeTable rope;
  AttentionPlan attention;
  Activations activations;
  AlignedBuffer x, normed, q, k, v, attended, projected, inner;  // (max_tokens, ...)
  AlignedBuffer gate_up;                                         // (n_threads, 2, gate_up_floats)
};

class Llama final : public Model {
 public:
  Llama(const LlamaSpec& spec, const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options);

  const ModelInfo& info() const noexcept override { return info_; }
  std::unique_ptr<Workspace> make_workspace(int max_tokens, int max_logit_rows, int max_positions,
                                            int n_threads) const override {
    return std::make_unique<LlamaWorkspace>(spec_, info_.kv, types_, max_tokens, max_logit_rows, max_positions,
                                            n_threads);
  }
  void forward(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const Batch& batch) const noexcept override {
    auto& memory = static_cast<LlamaWorkspace&>(workspace);
    team.run([&](const TeamMember& member) { step(member, memory, kv, batch); });
  }

 private:
  void step(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv, const Batch& batch) const noexcept;
  void embed(const TeamMember& member, LlamaWorkspace& memory, const Batch& batch) const noexcept;
  void attention(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv, const Batch& batch,
                 int index) const noexcept;
  void rotate_and_store(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv, const Batch& batch,
                        int index) const noexcept;
  void feed_forward(const TeamMember& member, LlamaWorkspace& memory, int n_tokens,
                    const LlamaLayer& layer) const noexcept;
  void gated(const TeamMember& member, LlamaWorkspace& memory, int n_tokens, const LlamaLayer& layer) const noexcept;
  void add_projection(const TeamMember& member, LlamaWorkspace& memory, int n_tokens, const PackedMatrix& matrix,
                      const std::vector<float>& bias) const noexcept;
  void logits(const TeamMember& member, LlamaWorkspace& memory, const Batch& batch) const noexcept;

  /// Norms this member's rows of x and converts them for the matrices of `types`; ends with a barrier.
  void norm_and_quantize(const TeamMember& member, LlamaWorkspace& memory, ActivationTypes types,
                         const std::vector<float>& weight, int n_tokens) const noexcept;
  /// Converts this member's rows of `rows`; ends with a barrier.
  void quantize(const TeamMember& member, LlamaWorkspace& memory, const PackedMatrix& matrix, const float* rows,
                int n_tokens) const noexcept;

  LlamaSpec spec_;
  const KernelTable& kernels_;
  ModelInfo info_;
  ActivationTypes types_;
  std::vector<LlamaLayer> layers_;
  std::vector<float> output_norm_;
  PackedMatrix output_;          // (vocab_size, hidden_size); the embedding, too, when they are tied
  const TensorView* embedding_;  // in the file; nullptr when tied
  AnonymousMemory memory_;
};

Llama::Llama(const LlamaSpec& spec, const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options)
    : spec_(spec), kernels_(options.kernels != nullptr ? *options.kernels : kernel_table()) {
  TensorFinder find(checkpoint, llama_tensors(spec), {"rope_freqs.", "rotary_emb.inv_freq"});
  WeightPacker packer;
  layers_.resize(static_cast<std::size_t>(spec.n_layers));
  for (int i = 0; i < spec.n_layers; ++i) {
    LlamaLayer& layer = layers_[static_cast<std::size_t>(i)];
    layer.attn_norm = to_floats(&find.get("attn_norm", i));
    layer.ffn_norm = to_floats(&find.get("ffn_norm", i));
    packer.add(find.get("attn_q", i), &layer.q);
    packer.add(find.get("attn_k", i), &layer.k);
    packer.add(find.get("attn_v", i), &layer.v);
    packer.add(find.get("attn_output", i), &layer.attn_output);
    packer.add(find.get("ffn_gate", i), &layer.gate);
    packer.add(find.get("ffn_up", i), &layer.up);
    packer.add(find.get("ffn_down", i), &layer.down);
    layer.q_bias = to_floats(find.find("attn_q_bias", i));
    layer.k_bias = to_floats(find.find("attn_k_bias", i));
    layer.v_bias = to_floats(find.find("attn_v_bias", i));
    layer.output_bias = to_floats(find.find("attn_output_bias", i));
    layer.gate_bias = to_floats(find.find("ffn_gate_bias", i));
    layer.up_bias = to_floats(find.find("ffn_up_bias", i));
    layer.down_bias = to_floats(find.find("ffn_down_bias", i));
  }
  output_norm_ = to_floats(&find.get("output_norm"));
  const TensorView& embedding = find.get("embedding");
  const TensorView* output = find.find("output");
  if (spec.tied_embeddings) output = nullptr;  // some files carry a copy
  embedding_ = output == nullptr ? nullptr : &embedding;
  packer.add(output == nullptr ? embedding : *output, &output_);
  find.finish();
  memory_ = packer.pack(checkpoint, team);

  for (const LlamaLayer& l : layers_)
    types_ |= ActivationTypes{&l.q, &l.k, &l.v, &l.attn_output, &l.gate, &l.up, &l.down};
  types_ |= ActivationTypes{&output_};

  info_ = llama_info(spec, checkpoint, options);
  info_.weight_bytes = memory_.size();
}

void Llama::step(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv,
                 const Batch& batch) const noexcept {
  const int n_tokens = static_cast<int>(batch.tokens.size());
  if (member.index == 0) memory.attention.prepare(batch, member.size);
  memory.rope.fill(member, batch);
  embed(member, memory, batch);
  for (int i = 0; i < spec_.n_layers; ++i) {
    attention(member, memory, kv, batch, i);
    feed_forward(member, memory, n_tokens, layers_[static_cast<std::size_t>(i)]);
  }
  logits(member, memory, batch);
}

void Llama::embed(const TeamMember& member, LlamaWorkspace& memory, const Batch& batch) const noexcept {
  const auto part = member.part(static_cast<int>(batch.tokens.size()));
  const auto hidden = static_cast<std::size_t>(spec_.hidden_size);
  for (int t = part.first; t < part.last; ++t) {
    const TokenId id = batch.tokens[static_cast<std::size_t>(t)];
    float* row = memory.x.floats() + static_cast<std::size_t>(t) * hidden;
    if (embedding_ == nullptr)
      unpack_row(output_, id, row);
    else
      dequantize_row(
          embedding_->dtype,
          embedding_->data.data() +
              static_cast<std::size_t>(id) * (embedding_->data.size() / static_cast<std::size_t>(spec_.vocab_size)),
          row, hidden);
  }
  member.wait();
}

void Llama::norm_and_quantize(const TeamMember& member, LlamaWorkspace& memory, ActivationTypes types,
                              const std::vector<float>& weight, int n_tokens) const noexcept {
  const auto part = member.part(n_tokens);
  const int hidden = spec_.hidden_size;
  for (int t = part.first; t < part.last; ++t)
    kernels_.rms_norm(memory.x.floats() + static_cast<std::ptrdiff_t>(t) * hidden, weight.data(), spec_.rms_epsilon,
                      hidden, memory.normed.floats() + static_cast<std::ptrdiff_t>(t) * hidden);
  memory.activations.quantize_rows(kernels_, types, memory.normed.floats(), hidden, n_tokens, hidden, part.first,
                                   part.last);
  member.wait();
}

void Llama::quantize(const TeamMember& member, LlamaWorkspace& memory, const PackedMatrix& matrix, const float* rows,
                     int n_tokens) const noexcept {
  const auto part = member.part(n_tokens);
  memory.activations.quantize_rows(kernels_, {&matrix}, rows, matrix.n_columns, n_tokens, matrix.n_columns, part.first,
                                   part.last);
  member.wait();
}

void Llama::attention(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv, const Batch& batch,
                      int index) const noexcept {
  const LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  const int n_tokens = static_cast<int>(batch.tokens.size());
  norm_and_quantize(member, memory, {&layer.q, &layer.k, &layer.v}, layer.attn_norm, n_tokens);
  multiply(member, kernels_, memory.activations, n_tokens,
           {{&layer.q, memory.q.floats(), layer.q.n_rows},
            {&layer.k, memory.k.floats(), layer.k.n_rows},
            {&layer.v, memory.v.floats(), layer.v.n_rows}});
  member.wait();
  rotate_and_store(member, memory, kv, batch, index);
  member.wait();
  memory.attention.run(member, kernels_, kv, index, batch, memory.q.floats(), memory.attended.floats());
  member.wait();
  quantize(member, memory, layer.attn_output, memory.attended.floats(), n_tokens);
  add_projection(member, memory, n_tokens, layer.attn_output, layer.output_bias);
  member.wait();
}

void Llama::rotate_and_store(const TeamMember& member, LlamaWorkspace& memory, const KvBlocks& kv, const Batch& batch,
                             int index) const noexcept {
  const LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  const int q_size = layer.q.n_rows, kv_size = layer.k.n_rows, head_dim = spec_.head_dim;
  const RopeSpec& rope = spec_.rope;
  for (const BatchSpan& span : batch.spans) {
    const auto part = member.part(span.n_tokens);
    for (int i = part.first; i < part.last; ++i) {
      const int t = span.first_token + i, position = span.first_position + i;
      float* q = memory.q.floats() + static_cast<std::ptrdiff_t>(t) * q_size;
      float* k = memory.k.floats() + static_cast<std::ptrdiff_t>(t) * kv_size;
      float* v = memory.v.floats() + static_cast<std::ptrdiff_t>(t) * kv_size;
      if (!layer.q_bias.empty()) kernels_.add(q, layer.q_bias.data(), q_size);
      if (!layer.k_bias.empty()) kernels_.add(k, layer.k_bias.data(), kv_size);
      if (!layer.v_bias.empty()) kernels_.add(v, layer.v_bias.data(), kv_size);
      const float *cos = memory.rope.cos(t), *sin = memory.rope.sin(t);
      for (int offset = 0; offset < q_size; offset += head_dim)
        kernels_.rope(q + offset, cos, sin, rope.dim, rope.interleaved);
      for (int offset = 0; offset < kv_size; offset += head_dim)
        kernels_.rope(k + offset, cos, sin, rope.dim, rope.interleaved);
      const int block = span.blocks[static_cast<std::size_t>(position / kv_block_tokens)];
      kernels_.store_kv(info_.kv, k, v, kv.block(index, block), position % kv_block_tokens);
    }
  }
}

void Llama::add_projection(const TeamMember& member, LlamaWorkspace& memory, int n_tokens, const PackedMatrix& matrix,
                           const std::vector<float>& bias) const noexcept {
  const auto part = member.part(matrix.n_panels());
  if (part.first == part.last) return;
  const int hidden = matrix.n_rows;
  kernels_.matmul(matrix, memory.activations.of(matrix.dtype), n_tokens, part.first, part.last,
                  memory.projected.floats(), hidden);
  const int begin = part.first * panel_rows, count = std::min(part.last * panel_rows, hidden) - begin;
  for (int t = 0; t < n_tokens; ++t) {
    float* projected = memory.projected.floats() + static_cast<std::ptrdiff_t>(t) * hidden + begin;
    if (!bias.empty()) kernels_.add(projected, bias.data() + begin, count);
    kernels_.add(memory.x.floats() + static_cast<std::ptrdiff_t>(t) * hidden + begin, projected, count);
  }
}

void Llama::feed_forward(const TeamMember& member, LlamaWorkspace& memory, int n_tokens,
                         const LlamaLayer& layer) const noexcept {
  norm_and_quantize(member, memory, {&layer.gate, &layer.up}, layer.ffn_norm, n_tokens);
  gated(member, memory, n_tokens, layer);
  member.wait();
  quantize(member, memory, layer.down, memory.inner.floats(), n_tokens);
  add_projection(member, memory, n_tokens, layer.down, layer.down_bias);
  member.wait();
}

void Llama::gated(const TeamMember& member, LlamaWorkspace& memory, int n_tokens,
                  const LlamaLayer& layer) const noexcept {
  const auto part = member.part(layer.gate.n_panels());
  const int at_once = std::max(1, memory.gate_up_floats / (n_tokens * panel_rows));
  float* gate = memory.gate_up.floats() + static_cast<std::ptrdiff_t>(member.index) * 2 * memory.gate_up_floats;
  float* up = gate + memory.gate_up_floats;
  for (int first = part.first; first < part.last; first += at_once) {
    const int count = std::min(at_once, part.last - first);
    const PackedMatrix gate_part = panel_range(layer.gate, first, count), up_part = panel_range(layer.up, first, count);
    const int width = gate_part.n_rows, column = first * panel_rows;
    kernels_.matmul(gate_part, memory.activations.of(gate_part.dtype), n_tokens, 0, gate_part.n_panels(), gate, width);
    kernels_.matmul(up_part, memory.activations.of(up_part.dtype), n_tokens, 0, up_part.n_panels(), up, width);
    for (int t = 0; t < n_tokens; ++t) {
      float *gate_row = gate + static_cast<std::ptrdiff_t>(t) * width,
            *up_row = up + static_cast<std::ptrdiff_t>(t) * width;
      if (!layer.gate_bias.empty()) kernels_.add(gate_row, layer.gate_bias.data() + column, width);
      if (!layer.up_bias.empty()) kernels_.add(up_row, layer.up_bias.data() + column, width);
      kernels_.swiglu(gate_row, up_row, width,
                      memory.inner.floats() + static_cast<std::ptrdiff_t>(t) * spec_.intermediate_size + column);
    }
  }
}

void Llama::logits(const TeamMember& member, LlamaWorkspace& memory, const Batch& batch) const noexcept {
  const int n_rows = static_cast<int>(batch.logit_rows.size()), hidden = spec_.hidden_size;
  if (n_rows == 0) return;
  const auto part = member.part(n_rows);
  for (int i = part.first; i < part.last; ++i)
    kernels_.rms_norm(
        memory.x.floats() + static_cast<std::ptrdiff_t>(batch.logit_rows[static_cast<std::size_t>(i)]) * hidden,
        output_norm_.data(), spec_.rms_epsilon, hidden,
        memory.normed.floats() + static_cast<std::ptrdiff_t>(i) * hidden);
  memory.activations.quantize_rows(kernels_, {&output_}, memory.normed.floats(), hidden, n_rows, hidden, part.first,
                                   part.last);
  member.wait();
  multiply(member, kernels_, memory.activations, n_rows, {{&output_, batch.logits, spec_.vocab_size}});
}

}  // namespace

ModelInfo llama_info(const LlamaSpec& spec, const Checkpoint& checkpoint, const ModelOptions& options) {
  ModelInfo info;
  info.architecture = spec.architecture;
  info.vocab_size = spec.vocab_size;
  info.max_context = spec.max_context;
  info.n_layers = spec.n_layers;
  info.hidden_size = spec.hidden_size;
  info.kv = {options.kv_type, spec.n_kv_heads, spec.head_dim};
  for (const TensorView& tensor : checkpoint.tensors()) info.n_parameters += tensor.n_elements();
  return info;
}

std::unique_ptr<const Model> make_llama(const LlamaSpec& spec, const Checkpoint& checkpoint, ThreadTeam& team,
                                        const ModelOptions& options) {
  return std::make_unique<Llama>(spec, checkpoint, team, options);
}

}  // namespace moebox

#include "models/llama.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "io/checkpoint.h"
#include "models/attention.h"
#include "models/decoder_info.h"
#include "models/embedding_and_head.h"
#include "models/moe.h"
#include "models/rope_table.h"

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
  std::vector<float> q_norm, k_norm;  // (head_dim) or all heads' values; empty: none
  MoeWeights moe;                     // in place of gate, up and down where the layer has experts
};

struct LlamaWorkspace final : Workspace {
  LlamaWorkspace(const LlamaSpec& spec, KvShape kv, ActivationTypes types, const MoeSizes& sizes, int max_tokens,
                 int max_logit_rows, int max_positions, int n_threads)
      : rope(spec.rope, max_tokens),
        attention({kv, spec.n_heads, 1.0f / std::sqrt(static_cast<float>(spec.head_dim))}, max_tokens, max_positions,
                  n_threads),
        activations(types, max_tokens,
                    std::max({spec.hidden_size, spec.intermediate_size, spec.n_heads * spec.head_dim})) {
    const int q_size = spec.n_heads * spec.head_dim, kv_size = spec.n_kv_heads * spec.head_dim;
    x = float_rows(max_tokens, spec.hidden_size);
    normed = float_rows(std::max(max_tokens, max_logit_rows), spec.hidden_size);
    q = float_rows(max_tokens, q_size);
    k = float_rows(max_tokens, kv_size);
    v = float_rows(max_tokens, kv_size);
    attended = float_rows(max_tokens, q_size);
    projected = float_rows(max_tokens, spec.hidden_size);
    inner = float_rows(max_tokens, spec.intermediate_size);
    if (spec.experts.n_layers() > 0) moe.emplace(sizes, max_tokens, max_positions, n_threads);
    gate_up_floats = std::max(max_tokens * panel_rows, 64 << 10);
    gate_up = float_rows(n_threads, 2 * gate_up_floats);
  }

  std::size_t size() const noexcept override {
    return rope.size() + attention.size() + activations.size() + (moe ? moe->size() : 0) +
           total_size({&x, &normed, &q, &k, &v, &attended, &projected, &inner, &gate_up});
  }

  void check_step() const override {
    if (moe) moe->check_step();
  }

  /// Floats of gate (and of up) that one member holds before the activation: a few panels at a time, so that they stay
  /// in its cache.
  int gate_up_floats;

  RopeTable rope;
  AttentionPlan attention;
  Activations activations;
  AlignedBuffer x, normed, q, k, v, attended, projected, inner;  // (max_tokens, ...)
  AlignedBuffer gate_up;                                         // (n_threads, 2, gate_up_floats)
  std::optional<MoeRunner> moe;                                  // where layers have experts
};

class Llama final : public Model {
 public:
  Llama(const LlamaSpec& spec, const Checkpoint& checkpoint, const WeightTask& task, const ModelOptions& options);

  const ModelInfo& info() const noexcept override { return info_; }
  ExpertCacheStats expert_cache() const noexcept override {
    return weights_.experts ? weights_.experts->stats() : ExpertCacheStats{};
  }
  std::unique_ptr<Workspace> make_workspace(int max_tokens, int max_logit_rows, int max_positions,
                                            int n_threads) const override {
    return std::make_unique<LlamaWorkspace>(spec_, info_.kv, types_, sizes_, max_tokens, max_logit_rows, max_positions,
                                            n_threads);
  }
  void forward(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const Batch& batch) const noexcept override {
    auto& memory = static_cast<LlamaWorkspace&>(workspace);
    if (memory.moe) memory.moe->begin_step();
    team.run([&](const TeamMember& member) { step({member, kernels_, batch}, memory, kv); });
  }

 private:
  void load_layer(TensorFinder& find, WeightPacker& packer, int index);
  void load_feed_forward(TensorFinder& find, WeightPacker& packer, int index);
  void step(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv) const noexcept;
  void attention(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv, int index) const noexcept;
  void rotate_and_store(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv, int index) const noexcept;
  void norm_heads(float* row, int n_values, const std::vector<float>& weight) const noexcept;
  void feed_forward(const Step& step, LlamaWorkspace& memory, const LlamaLayer& layer) const noexcept;
  void gated(const Step& step, LlamaWorkspace& memory, const LlamaLayer& layer) const noexcept;

  LlamaSpec spec_;
  const KernelTable& kernels_;
  ModelInfo info_;
  ActivationTypes types_;
  MoeSizes sizes_;
  EmbeddingAndHead embedding_and_head_;
  std::vector<LlamaLayer> layers_;
  Weights weights_;
};

Llama::Llama(const LlamaSpec& spec, const Checkpoint& checkpoint, const WeightTask& task, const ModelOptions& options)
    : spec_(spec), kernels_(options.kernels != nullptr ? *options.kernels : kernel_table()) {
  TensorFinder find(checkpoint, llama_tensors(spec, checkpoint.format()), llama_ignored(spec));
  WeightPacker packer;
  layers_.resize(static_cast<std::size_t>(spec.n_layers));
  for (int i = 0; i < spec.n_layers; ++i) {
    load_layer(find, packer, i);
    load_feed_forward(find, packer, i);
  }
  embedding_and_head_.load(checkpoint, find, packer, spec.rms_epsilon);
  find.finish();
  const int top_k = spec.experts.n_layers() > 0 ? spec.experts.gate.top_k : 0;
  weights_ = packer.finish(checkpoint, task, options, top_k);
  for (LlamaLayer& layer : layers_) layer.moe.cache = weights_.experts.get();

  info_ = llama_info(spec, checkpoint, options);
  sizes_.hidden_size = spec.hidden_size;
  sizes_.expert_size = spec.experts.intermediate_size;
  sizes_.shared_size = spec.experts.shared_intermediate_size;
  sizes_.gate = spec.experts.gate;
  sizes_.gate_kv = info_.gate_kv;
  info_.read_bytes_per_token = embedding_and_head_.head_bytes();
  for (const LlamaLayer& l : layers_) {
    types_ |= ActivationTypes{&l.q, &l.k, &l.v, &l.attn_output};
    for (const PackedMatrix* matrix : {&l.q, &l.k, &l.v, &l.attn_output, &l.gate, &l.up, &l.down})
      info_.read_bytes_per_token += bytes_of(*matrix), info_.products_per_prompt_token += products_of(*matrix);
    info_.read_bytes_per_token += l.moe.read_bytes_per_token(spec.experts.gate.top_k);
    info_.products_per_prompt_token += l.moe.products_per_token(spec.experts.gate.top_k);
    if (l.moe.experts.empty())
      types_ |= ActivationTypes{&l.gate, &l.up, &l.down};
    else
      sizes_.add(l.moe);
  }
  types_ |= embedding_and_head_.activation_types();

  info_.weight_bytes = packer.total_bytes(options, top_k);
  info_.mapped_bytes = embedding_and_head_.mapped_bytes();
}

void Llama::load_layer(TensorFinder& find, WeightPacker& packer, int index) {
  LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  layer.attn_norm = to_floats(&find.get("attn_norm", index));
  layer.ffn_norm = to_floats(&find.get("ffn_norm", index));
  packer.add(find.get("attn_q", index), &layer.q);
  packer.add(find.get("attn_k", index), &layer.k);
  packer.add(find.get("attn_v", index), &layer.v);
  packer.add(find.get("attn_output", index), &layer.attn_output);
  layer.q_bias = to_floats(find.find("attn_q_bias", index));
  layer.k_bias = to_floats(find.find("attn_k_bias", index));
  layer.v_bias = to_floats(find.find("attn_v_bias", index));
  layer.output_bias = to_floats(find.find("attn_output_bias", index));
  if (spec_.qk_norm == QkNorm::none) return;
  layer.q_norm = to_floats(&find.get("attn_q_norm", index));
  layer.k_norm = to_floats(&find.get("attn_k_norm", index));
}

void Llama::load_feed_forward(TensorFinder& find, WeightPacker& packer, int index) {
  LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  const ExpertsSpec& experts = spec_.experts;
  if (experts.in_layer(index))
    return load_moe({experts.gate, experts.shared_intermediate_size > 0, experts.shared_gate}, find, packer, index,
                    layer.moe);
  packer.add(find.get("ffn_gate", index), &layer.gate);
  packer.add(find.get("ffn_up", index), &layer.up);
  packer.add(find.get("ffn_down", index), &layer.down);
  layer.gate_bias = to_floats(find.find("ffn_gate_bias", index));
  layer.up_bias = to_floats(find.find("ffn_up_bias", index));
  layer.down_bias = to_floats(find.find("ffn_down_bias", index));
}

void Llama::step(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv) const noexcept {
  if (step.member.index == 0) {
    memory.attention.prepare(step.batch, step.member.size);
    if (memory.moe) memory.moe->prepare(step.batch, step.member.size);
  }
  memory.rope.fill(step.member, step.batch);
  embedding_and_head_.embed(step, memory.x);
  const KvBlocks gate_kv = gate_blocks(info_, kv);
  int moe_layer = 0;
  for (int i = 0; i < spec_.n_layers; ++i) {
    const LlamaLayer& layer = layers_[static_cast<std::size_t>(i)];
    attention(step, memory, kv, i);
    if (layer.moe.experts.empty())
      feed_forward(step, memory, layer);
    else
      memory.moe->run(step, layer.moe, layer.ffn_norm, spec_.rms_epsilon, moe_layer++, gate_kv, memory.x,
                      memory.normed);
  }
  embedding_and_head_.logits(step, memory.x, memory.normed, memory.activations);
}

void Llama::attention(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv, int index) const noexcept {
  const LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  norm_and_quantize(step, memory.x, layer.attn_norm, spec_.rms_epsilon, {&layer.q, &layer.k, &layer.v}, memory.normed,
                    memory.activations);
  multiply(step.member, kernels_, memory.activations, step.n_tokens(),
           {{&layer.q, memory.q.floats(), layer.q.n_rows},
            {&layer.k, memory.k.floats(), layer.k.n_rows},
            {&layer.v, memory.v.floats(), layer.v.n_rows}});
  step.member.wait();
  rotate_and_store(step, memory, kv, index);
  step.member.wait();
  memory.attention.run(step.member, kernels_, kv, index, step.batch, memory.q.floats(), memory.attended.floats());
  step.member.wait();
  project_and_add(step, memory.attended, layer.attn_output, layer.output_bias, memory.activations, memory.projected,
                  memory.x);
}

/// Norms a token's queries or keys in place.
void Llama::norm_heads(float* row, int n_values, const std::vector<float>& weight) const noexcept {
  const int size = static_cast<int>(weight.size());  // of a head, or of all
  for (int offset = 0; size > 0 && offset < n_values; offset += size)
    kernels_.rms_norm(row + offset, weight.data(), spec_.rms_epsilon, size, row + offset);
}

void Llama::rotate_and_store(const Step& step, LlamaWorkspace& memory, const KvBlocks& kv, int index) const noexcept {
  const LlamaLayer& layer = layers_[static_cast<std::size_t>(index)];
  const int q_size = layer.q.n_rows, kv_size = layer.k.n_rows, head_dim = spec_.head_dim;
  const RopeSpec& rope = spec_.rope;
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int i = part.first; i < part.last; ++i) {
      const int t = span.first_token + i, position = span.first_position + i;
      float* q = memory.q.floats() + static_cast<std::ptrdiff_t>(t) * q_size;
      float* k = memory.k.floats() + static_cast<std::ptrdiff_t>(t) * kv_size;
      float* v = memory.v.floats() + static_cast<std::ptrdiff_t>(t) * kv_size;
      if (!layer.q_bias.empty()) kernels_.add(q, layer.q_bias.data(), q_size);
      if (!layer.k_bias.empty()) kernels_.add(k, layer.k_bias.data(), kv_size);
      if (!layer.v_bias.empty()) kernels_.add(v, layer.v_bias.data(), kv_size);
      norm_heads(q, q_size, layer.q_norm);
      norm_heads(k, kv_size, layer.k_norm);
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

void Llama::feed_forward(const Step& step, LlamaWorkspace& memory, const LlamaLayer& layer) const noexcept {
  norm_and_quantize(step, memory.x, layer.ffn_norm, spec_.rms_epsilon, {&layer.gate, &layer.up}, memory.normed,
                    memory.activations);
  gated(step, memory, layer);
  step.member.wait();
  project_and_add(step, memory.inner, layer.down, layer.down_bias, memory.activations, memory.projected, memory.x);
}

void Llama::gated(const Step& step, LlamaWorkspace& memory, const LlamaLayer& layer) const noexcept {
  const int n_tokens = step.n_tokens();
  const auto part = step.member.part(layer.gate.n_panels());
  const int at_once = std::max(1, memory.gate_up_floats / (n_tokens * panel_rows));
  float* gate = memory.gate_up.floats() + static_cast<std::ptrdiff_t>(step.member.index) * 2 * memory.gate_up_floats;
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

}  // namespace

ModelInfo llama_info(const LlamaSpec& spec, const Checkpoint& checkpoint, const ModelOptions& options) {
  ModelInfo info = decoder_info(spec, options);
  info.n_parameters = count_parameters(checkpoint, llama_ignored(spec));
  info.kv.n_kv_heads = spec.n_kv_heads;
  info.kv.head_dim = spec.head_dim;
  if (const ExpertsSpec& experts = spec.experts; experts.n_layers() > 0) {
    info.moe = {experts.n_layers(), experts.gate.n_experts, experts.gate.top_k,
                std::int64_t{3} * spec.hidden_size * experts.intermediate_size};
    info.gate_kv = gate_kv_shape(experts.gate.attention, options.kv_type);
  }
  return info;
}

std::unique_ptr<const Model> make_llama(const LlamaSpec& spec, const Checkpoint& checkpoint, const WeightTask& task,
                                        const ModelOptions& options) {
  return std::make_unique<Llama>(spec, checkpoint, task, options);
}

}  // namespace moebox

#include "models/deepseek.h"

#include <algorithm>
#include <string>

#include "io/checkpoint.h"
#include "models/decoder_info.h"
#include "models/embedding_and_head.h"
#include "models/mla.h"
#include "models/moe.h"
#include "spec/deepseek.h"

namespace moebox {
namespace {

struct DeepseekLayer {
  std::vector<float> attn_norm, ffn_norm;  // (hidden_size)
  MlaWeights attention;
  GatedMlp dense;  // a leading layer
  MoeWeights moe;  // any other
};

struct DeepseekWorkspace final : Workspace {
  DeepseekWorkspace(const DeepseekSpec& spec, KvType kv_type, ActivationTypes attention_types, const MoeSizes& sizes,
                    ActivationTypes output_types, int max_tokens, int max_logit_rows, int max_positions, int n_threads)
      : attention(spec.mla, kv_type, attention_types, spec.hidden_size, max_tokens, max_positions, n_threads),
        feed_forward(sizes, max_tokens, max_positions, n_threads),
        activations(output_types, max_logit_rows, spec.hidden_size),
        x(float_rows(max_tokens, spec.hidden_size)),
        normed(float_rows(std::max(max_tokens, max_logit_rows), spec.hidden_size)) {}

  std::size_t size() const noexcept override {
    return attention.size() + feed_forward.size() + activations.size() + x.size() + normed.size();
  }

  void check_step() const override { feed_forward.check_step(); }

  MlaRunner attention;
  MoeRunner feed_forward;
  Activations activations;  // of the output head
  AlignedBuffer x, normed;  // (max_tokens, hidden_size)
};

class Deepseek final : public Model {
 public:
  Deepseek(const DeepseekSpec& spec, const ModelInfo& info, const Checkpoint& checkpoint, const WeightTask& task,
           const ModelOptions& options);

  const ModelInfo& info() const noexcept override { return info_; }
  ExpertCacheStats expert_cache() const noexcept override {
    return weights_.experts ? weights_.experts->stats() : ExpertCacheStats{};
  }
  std::unique_ptr<Workspace> make_workspace(int max_tokens, int max_logit_rows, int max_positions,
                                            int n_threads) const override {
    return std::make_unique<DeepseekWorkspace>(spec_, info_.kv.type, attention_types_, sizes_,
                                               embedding_and_head_.activation_types(), max_tokens, max_logit_rows,
                                               max_positions, n_threads);
  }
  void forward(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const Batch& batch) const noexcept override {
    auto& memory = static_cast<DeepseekWorkspace&>(workspace);
    memory.feed_forward.begin_step();
    team.run([&](const TeamMember& member) { step({member, kernels_, batch}, memory, kv); });
  }

 private:
  void load_dense(TensorFinder& find, WeightPacker& packer, int index);
  void step(const Step& step, DeepseekWorkspace& memory, const KvBlocks& kv) const noexcept;

  DeepseekSpec spec_;
  const KernelTable& kernels_;
  ModelInfo info_;
  EmbeddingAndHead embedding_and_head_;
  std::vector<DeepseekLayer> layers_;
  ActivationTypes attention_types_;
  MoeSizes sizes_;
  Weights weights_;
};

Deepseek::Deepseek(const DeepseekSpec& spec, const ModelInfo& info, const Checkpoint& checkpoint,
                   const WeightTask& task, const ModelOptions& options)
    : spec_(spec), kernels_(options.kernels != nullptr ? *options.kernels : kernel_table()), info_(info) {
  TensorFinder find(checkpoint, deepseek_tensors(spec), deepseek_ignored(spec, checkpoint.format()));
  WeightPacker packer;
  layers_.resize(static_cast<std::size_t>(spec.n_layers));
  for (int i = 0; i < spec.n_layers; ++i) {
    DeepseekLayer& layer = layers_[static_cast<std::size_t>(i)];
    layer.attn_norm = to_floats(&find.get("attn_norm", i));
    layer.ffn_norm = to_floats(&find.get("ffn_norm", i));
    load_mla(spec.mla, find, packer, i, layer.attention);
    if (i < spec.n_dense_layers)
      load_dense(find, packer, i);
    else
      load_moe({spec_.gate, spec.shared_intermediate_size > 0}, find, packer, i, layer.moe);
  }
  embedding_and_head_.load(checkpoint, find, packer, spec.rms_epsilon);
  find.finish();
  const int top_k = info_.moe.n_layers > 0 ? spec.gate.top_k : 0;
  weights_ = packer.finish(checkpoint, task, options, top_k);
  for (DeepseekLayer& layer : layers_) layer.moe.cache = weights_.experts.get();
  info_.weight_bytes = packer.total_bytes(options, top_k);
  info_.mapped_bytes = embedding_and_head_.mapped_bytes();

  sizes_.hidden_size = spec.hidden_size;
  sizes_.dense_size = spec.n_dense_layers > 0 ? spec.intermediate_size : 0;
  sizes_.expert_size = spec.moe_intermediate_size;
  sizes_.shared_size = spec.shared_intermediate_size;
  sizes_.gate = spec.gate;
  sizes_.gate_kv = info_.gate_kv;
  info_.read_bytes_per_token = embedding_and_head_.head_bytes();
  for (const DeepseekLayer& layer : layers_) {
    info_.read_bytes_per_token +=
        layer.attention.read_bytes_per_token() + layer.dense.bytes() + layer.moe.read_bytes_per_token(spec.gate.top_k);
    attention_types_ |= layer.attention.types();
    if (layer.moe.experts.empty())
      sizes_.add_mlps({&layer.dense, 1});
    else
      sizes_.add(layer.moe);
  }
}

void Deepseek::load_dense(TensorFinder& find, WeightPacker& packer, int index) {
  GatedMlp& mlp = layers_[static_cast<std::size_t>(index)].dense;
  packer.add(stored_matrix(find, find.get("ffn_gate", index)), &mlp.gate);
  packer.add(stored_matrix(find, find.get("ffn_up", index)), &mlp.up);
  packer.add(stored_matrix(find, find.get("ffn_down", index)), &mlp.down);
}

void Deepseek::step(const Step& step, DeepseekWorkspace& memory, const KvBlocks& kv) const noexcept {
  if (step.member.index == 0) {
    memory.attention.prepare(step.batch, step.member.size);
    memory.feed_forward.prepare(step.batch, step.member.size);
  }
  memory.attention.fill_rope(step);
  embedding_and_head_.embed(step, memory.x);
  const KvBlocks gate_kv = gate_blocks(info_, kv);
  for (int i = 0; i < spec_.n_layers; ++i) {
    const DeepseekLayer& layer = layers_[static_cast<std::size_t>(i)];
    memory.attention.run(step, layer.attention, layer.attn_norm, spec_.rms_epsilon, kv, i, memory.x, memory.normed);
    if (layer.moe.experts.empty())
      memory.feed_forward.run_dense(step, layer.dense, layer.ffn_norm, spec_.rms_epsilon, memory.x, memory.normed);
    else
      memory.feed_forward.run(step, layer.moe, layer.ffn_norm, spec_.rms_epsilon, i - spec_.n_dense_layers, gate_kv,
                              memory.x, memory.normed);
  }
  embedding_and_head_.logits(step, memory.x, memory.normed, memory.activations);
}

ModelInfo deepseek_info(const DeepseekSpec& spec, const Checkpoint& checkpoint, const ModelOptions& options) {
  ModelInfo info = decoder_info(spec, options);
  info.n_parameters = count_parameters(checkpoint, deepseek_ignored(spec, checkpoint.format()));
  info.kv.latent_dim = spec.mla.latent_dim();
  info.roles_matter = true;
  // Each step expands the keys and values of all positions before it: fewer steps expand fewer.
  info.batch_tokens = 1024;
  info.moe.n_layers = spec.n_layers - spec.n_dense_layers;
  info.moe.n_experts = spec.gate.n_experts;
  info.moe.top_k = spec.gate.top_k;
  info.moe.parameters_per_expert = std::int64_t{3} * spec.hidden_size * spec.moe_intermediate_size;
  info.gate_kv = gate_kv_shape(spec.gate.attention, options.kv_type);
  return info;
}

}  // namespace

ModelInfo describe_deepseek(const Checkpoint& checkpoint, const ModelOptions& options) {
  return deepseek_info(read_deepseek(checkpoint), checkpoint, options);
}

std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint, const WeightTask& task,
                                           const ModelOptions& options) {
  const DeepseekSpec spec = read_deepseek(checkpoint);
  return std::make_unique<Deepseek>(spec, deepseek_info(spec, checkpoint, options), checkpoint, task, options);
}

}  // namespace moebox

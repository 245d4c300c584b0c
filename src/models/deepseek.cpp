#include "models/deepseek.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/log.h"
#include "io/checkpoint.h"
#include "models/decoder_info.h"
#include "models/embedding_and_head.h"
#include "models/mla.h"
#include "models/moe.h"
#include "models/mtp.h"
#include "spec/deepseek.h"

namespace moebox {
namespace {

struct DeepseekLayer {
  std::vector<float> attn_norm, ffn_norm;  // (hidden_size)
  MlaWeights attention;
  GatedMlp dense;  // a leading layer
  MoeWeights moe;  // any other
};

/// The layer that predicts a further token.
struct DraftLayer {
  MtpWeights mtp;
  DeepseekLayer layer;
};

struct DeepseekWorkspace final : Workspace {
  DeepseekWorkspace(const DeepseekSpec& spec, KvType kv_type, ActivationTypes attention_types, const MoeSizes& sizes,
                    ActivationTypes output_types, const DraftLayer* draft, int max_tokens, int max_logit_rows,
                    int max_positions, int n_threads)
      : attention(spec.mla, kv_type, attention_types, spec.hidden_size, max_tokens, max_positions, n_threads),
        feed_forward(sizes, max_tokens, max_positions, n_threads),
        activations(output_types, max_logit_rows, spec.hidden_size),
        x(float_rows(max_tokens, spec.hidden_size)),
        normed(float_rows(std::max(max_tokens, max_logit_rows), spec.hidden_size)) {
    if (draft != nullptr) mtp.emplace(ActivationTypes{&draft->mtp.projection}, max_tokens, spec.hidden_size);
  }

  std::size_t size() const noexcept override {
    return attention.size() + feed_forward.size() + activations.size() + x.size() + normed.size() +
           (mtp ? mtp->size() : 0);
  }

  void check_step() const override { feed_forward.check_step(); }

  MlaRunner attention;
  MoeRunner feed_forward;
  Activations activations;  // of the output head
  AlignedBuffer x, normed;  // (max_tokens, hidden_size)
  std::optional<MtpRunner> mtp;
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
    return std::make_unique<DeepseekWorkspace>(spec_, info_.kv.type, attention_types_, sizes_, output_types_,
                                               draft_.get(), max_tokens, max_logit_rows, max_positions, n_threads);
  }
  void forward(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv, const Batch& batch) const noexcept override {
    auto& memory = static_cast<DeepseekWorkspace&>(workspace);
    memory.feed_forward.begin_step();
    team.run([&](const TeamMember& member) { step({member, kernels_, batch}, memory, kv); });
  }
  void draft(ThreadTeam& team, Workspace& workspace, const KvBlocks& kv,
             const DraftBatch& pairs) const noexcept override {
    auto& memory = static_cast<DeepseekWorkspace&>(workspace);
    team.run([&](const TeamMember& member) { draft_step({member, kernels_, pairs.batch}, pairs.sources, memory, kv); });
  }

 private:
  void load_layer(TensorFinder& find, WeightPacker& packer, int index, DeepseekLayer& layer) const;
  void take_note(const DeepseekLayer& layer);
  void step(const Step& step, DeepseekWorkspace& memory, const KvBlocks& kv) const noexcept;
  void draft_step(const Step& step, std::span<const int> sources, DeepseekWorkspace& memory,
                  const KvBlocks& kv) const noexcept;

  DeepseekSpec spec_;
  const KernelTable& kernels_;
  ModelInfo info_;
  EmbeddingAndHead embedding_and_head_;
  std::vector<DeepseekLayer> layers_;
  std::unique_ptr<DraftLayer> draft_;  // nullptr: none, or not asked for
  ActivationTypes attention_types_, output_types_;
  MoeSizes sizes_;
  Weights weights_;
};

Deepseek::Deepseek(const DeepseekSpec& spec, const ModelInfo& info, const Checkpoint& checkpoint,
                   const WeightTask& task, const ModelOptions& options)
    : spec_(spec), kernels_(options.kernels != nullptr ? *options.kernels : kernel_table()), info_(info) {
  TensorFinder find(checkpoint, deepseek_tensors(spec),
                    deepseek_ignored(spec, checkpoint.format(), info.n_draft_layers));
  WeightPacker packer;
  layers_.resize(static_cast<std::size_t>(spec.n_layers));
  for (int i = 0; i < spec.n_layers; ++i) load_layer(find, packer, i, layers_[static_cast<std::size_t>(i)]);
  embedding_and_head_.load(checkpoint, find, packer, spec.rms_epsilon);
  if (info_.n_draft_layers > 0) {
    draft_ = std::make_unique<DraftLayer>();
    load_mtp(embedding_and_head_, checkpoint, find, packer, spec.n_layers, draft_->mtp);
    load_layer(find, packer, spec.n_layers, draft_->layer);
  }
  find.finish();
  const int top_k = info_.moe.n_layers + info_.n_draft_layers > 0 ? spec.gate.top_k : 0;
  weights_ = packer.finish(checkpoint, task, options, top_k);
  for (DeepseekLayer& layer : layers_) layer.moe.cache = weights_.experts.get();
  if (draft_ != nullptr) draft_->layer.moe.cache = weights_.experts.get();
  info_.weight_bytes = packer.total_bytes(options, top_k);
  info_.mapped_bytes = embedding_and_head_.mapped_bytes();
  if (draft_ != nullptr) info_.mapped_bytes += draft_->mtp.embedding_and_head.mapped_bytes();

  sizes_.hidden_size = spec.hidden_size;
  sizes_.dense_size = spec.n_dense_layers > 0 ? spec.intermediate_size : 0;
  sizes_.expert_size = spec.moe_intermediate_size;
  sizes_.shared_size = spec.shared_intermediate_size;
  sizes_.gate = spec.gate;
  sizes_.gate_kv = info_.gate_kv;
  info_.read_bytes_per_token = embedding_and_head_.head_bytes();
  output_types_ = embedding_and_head_.activation_types();
  for (const DeepseekLayer& layer : layers_) {
    info_.read_bytes_per_token +=
        layer.attention.read_bytes_per_token() + layer.dense.bytes() + layer.moe.read_bytes_per_token(spec.gate.top_k);
    info_.products_per_prompt_token += layer.attention.products_per_prompt_token() + layer.dense.products() +
                                       layer.moe.products_per_token(spec.gate.top_k);
    take_note(layer);
  }
  if (draft_ == nullptr) return;
  take_note(draft_->layer);
  output_types_ |= draft_->mtp.embedding_and_head.activation_types();
}

void Deepseek::load_layer(TensorFinder& find, WeightPacker& packer, int index, DeepseekLayer& layer) const {
  layer.attn_norm = to_floats(&find.get("attn_norm", index));
  layer.ffn_norm = to_floats(&find.get("ffn_norm", index));
  load_mla(spec_.mla, find, packer, index, layer.attention);
  if (index >= spec_.n_dense_layers)
    return load_moe({spec_.gate, spec_.shared_intermediate_size > 0}, find, packer, index, layer.moe);
  packer.add(stored_matrix(find, find.get("ffn_gate", index)), &layer.dense.gate);
  packer.add(stored_matrix(find, find.get("ffn_up", index)), &layer.dense.up);
  packer.add(stored_matrix(find, find.get("ffn_down", index)), &layer.dense.down);
}

/// Notes what the memory of a step must be fit for.
void Deepseek::take_note(const DeepseekLayer& layer) {
  attention_types_ |= layer.attention.types();
  if (layer.moe.experts.empty())
    sizes_.add_mlps({&layer.dense, 1});
  else
    sizes_.add(layer.moe);
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
  if (memory.mtp)
    memory.mtp->keep_rows(step, memory.x, embedding_and_head_.output_norm(), spec_.rms_epsilon, draft_rows(info_, kv));
  embedding_and_head_.logits(step, memory.x, memory.normed, memory.activations);
}

void Deepseek::draft_step(const Step& step, std::span<const int> sources, DeepseekWorkspace& memory,
                          const KvBlocks& kv) const noexcept {
  const auto& [mtp, layer] = *draft_;
  const int index = spec_.n_layers;
  if (step.member.index == 0) {
    memory.attention.prepare(step.batch, step.member.size);
    memory.feed_forward.prepare(step.batch, step.member.size);
  }
  memory.attention.fill_rope(step);
  memory.mtp->project(step, mtp, spec_.rms_epsilon, sources, draft_rows(info_, kv), memory.x);
  if (step.batch.logit_rows.empty())
    return memory.attention.store(step, layer.attention, layer.attn_norm, spec_.rms_epsilon, kv, index, memory.x,
                                  memory.normed);
  memory.attention.run(step, layer.attention, layer.attn_norm, spec_.rms_epsilon, kv, index, memory.x, memory.normed,
                       1);
  if (layer.moe.experts.empty())
    memory.feed_forward.run_dense(step, layer.dense, layer.ffn_norm, spec_.rms_epsilon, memory.x, memory.normed);
  else
    memory.feed_forward.run(step, layer.moe, layer.ffn_norm, spec_.rms_epsilon, info_.moe.n_layers,
                            gate_blocks(info_, kv), memory.x, memory.normed);
  memory.mtp->keep_draft_rows(step, memory.x, mtp.embedding_and_head.output_norm(), spec_.rms_epsilon);
  mtp.embedding_and_head.logits(step, memory.x, memory.normed, memory.activations);
}

ModelInfo deepseek_info(const DeepseekSpec& spec, const Checkpoint& checkpoint, const ModelOptions& options) {
  ModelInfo info = decoder_info(spec, options);
  info.n_mtp_layers = has_mtp(spec, checkpoint) ? spec.n_mtp_layers : 0;
  if (options.draft_layer) {
    check_mtp(spec, checkpoint);
    info.n_draft_layers = 1;
  }
  info.n_parameters = count_parameters(checkpoint, deepseek_ignored(spec, checkpoint.format(), info.n_draft_layers));
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

/// llama.cpp's converter leaves the score out where a config.json has no scoring_func, as transformers writes V3's, and
/// llama.cpp then takes a softmax: the file says that, though the model that it was made of has a sigmoid.
void warn_of_an_unstated_score(const DeepseekSpec& spec, const Checkpoint& checkpoint) {
  constexpr const char* key = "deepseek2.expert_gating_func";
  if (checkpoint.format() != Checkpoint::Format::gguf || !spec.gate_bias || checkpoint.find(key) != nullptr) return;
  log(LogLevel::warning, "the file does not state its gates' score: a softmax is taken, as llama.cpp does",
      {{"key", key},
       {"reason", "gates with a correction bias have a sigmoid in DeepSeek-V3"},
       {"what to do", "convert the Hugging Face folder with 'moebox convert'"}});
}

}  // namespace

ModelInfo describe_deepseek(const Checkpoint& checkpoint, const ModelOptions& options) {
  return deepseek_info(read_deepseek(checkpoint), checkpoint, options);
}

std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint, const WeightTask& task,
                                           const ModelOptions& options) {
  const DeepseekSpec spec = read_deepseek(checkpoint);
  warn_of_an_unstated_score(spec, checkpoint);
  return std::make_unique<Deepseek>(spec, deepseek_info(spec, checkpoint, options), checkpoint, task, options);
}

}  // namespace moebox

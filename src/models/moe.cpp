#include "models/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "spec/gate_attention.h"

namespace moebox {
namespace {

ExpertBatch::Sizes batch_sizes(const MoeSizes& sizes, int max_tokens) {
  const auto panels = [](int rows) { return (rows + panel_rows - 1) / panel_rows; };
  const int top_k = sizes.gate.top_k, shared = sizes.shared_size > 0 ? 1 : 0;
  const int hidden_panels = panels(sizes.hidden_size);
  ExpertBatch::Sizes result;
  result.hidden_size = sizes.hidden_size;
  result.max_tokens = max_tokens;
  result.max_rows = max_tokens * std::max(top_k + shared, 1);
  // In 64 bits: the limits of both factors together are beyond an int.
  const std::size_t routed_inner = static_cast<std::size_t>(top_k) * static_cast<std::size_t>(sizes.expert_size);
  result.max_inner =
      static_cast<std::size_t>(max_tokens) *
      std::max(static_cast<std::size_t>(sizes.dense_size), routed_inner + static_cast<std::size_t>(sizes.shared_size));
  result.max_groups = std::max(1, sizes.gate.n_experts + shared);
  result.max_panels = std::max({panels(sizes.dense_size), hidden_panels,
                                sizes.gate.n_experts * std::max(panels(sizes.expert_size), hidden_panels) +
                                    shared * std::max(panels(sizes.shared_size), hidden_panels)});
  result.input_types = sizes.input_types;
  result.inner_types = sizes.inner_types;
  return result;
}

std::size_t place(int i) noexcept { return static_cast<std::size_t>(i); }

}  // namespace

MoeRunner::MoeRunner(const MoeSizes& sizes, int max_tokens, int max_positions, int n_threads)
    : sizes_(sizes),
      router_columns_(router_columns(sizes.gate, sizes.hidden_size)),
      activations_(sizes.router_types, max_tokens, router_columns_),
      batch_(batch_sizes(sizes, max_tokens), n_threads),
      logits_(float_rows(max_tokens, std::max(1, sizes.gate.n_experts))),
      scratch_(place(n_threads), GateScratch(sizes.gate)),
      chosen_(place(max_tokens) * place(sizes.gate.top_k)),
      n_chosen_(place(max_tokens)),
      chosen_rows_(chosen_.size()),
      tokens_by_expert_(chosen_.size()),
      expert_begin_(place(sizes.gate.n_experts + 1)),
      wanted_(place(sizes.gate.n_experts)),
      all_tokens_(place(max_tokens)) {
  std::iota(all_tokens_.begin(), all_tokens_.end(), 0);
  if (sizes.gate.attention.n_heads > 0)
    attention_.emplace(GateAttention::Sizes{sizes.hidden_size, sizes.gate_kv, sizes.gate_attention_types}, max_tokens,
                       max_positions, n_threads);
}

void MoeRunner::norm_rows(const Step& step, const std::vector<float>& norm, float epsilon, const AlignedBuffer& x,
                          const AlignedBuffer& normed) const noexcept {
  const auto part = step.member.part(step.n_tokens());
  const int hidden = sizes_.hidden_size;
  for (int t = part.first; t < part.last; ++t)
    step.kernels.rms_norm(row_of(x, t, hidden), norm.data(), epsilon, hidden, row_of(normed, t, hidden));
}

void MoeRunner::run_dense(const Step& step, const GatedMlp& mlp, const std::vector<float>& norm, float epsilon,
                          const AlignedBuffer& x, const AlignedBuffer& normed) noexcept {
  norm_rows(step, norm, epsilon, x, normed);
  batch_.take_tokens(step, normed, mlp.input_types());
  if (step.member.index == 0) {
    batch_.clear();
    batch_.add_group(mlp, {all_tokens_.data(), place(step.n_tokens())}, 0);
    batch_.finish_groups(step.member);
  }
  step.member.wait();
  batch_.run(step);
  const auto part = step.member.part(step.n_tokens());
  for (int t = part.first; t < part.last; ++t)
    step.kernels.add(row_of(x, t, sizes_.hidden_size), batch_.output(t), sizes_.hidden_size);
  step.member.wait();
}

void MoeRunner::run(const Step& step, const MoeWeights& weights, const std::vector<float>& norm, float epsilon,
                    int moe_layer, const KvBlocks& gate_kv, const AlignedBuffer& x,
                    const AlignedBuffer& normed) noexcept {
  const int n_tokens = step.n_tokens();
  norm_rows(step, norm, epsilon, x, normed);
  if (attention_) attention_->run(step, weights.attention, gate_kv, moe_layer, normed);
  const auto part = step.member.part(n_tokens);
  activations_.quantize_rows(step.kernels, {&weights.router}, (attention_ ? attention_->output() : normed).floats(),
                             router_columns_, n_tokens, router_columns_, part.first, part.last);
  batch_.take_tokens(step, normed, weights.input_types);
  step.member.wait();
  multiply(step.member, step.kernels, activations_, n_tokens,
           {{&weights.router, logits_.floats(), sizes_.gate.n_experts}});
  step.member.wait();
  route(step, weights, moe_layer);
  step.member.wait();
  if (step.member.index == 0) sort_tokens(step, weights);
  weights.cache == nullptr ? run_experts(step, weights) : run_cached_experts(step, weights, moe_layer);
  add_outputs(step, weights, x, normed);
  step.member.wait();
}

void MoeRunner::route(const Step& step, const MoeWeights& weights, int moe_layer) noexcept {
  const int top_k = sizes_.gate.top_k, n_experts = sizes_.gate.n_experts, n_tokens = step.n_tokens();
  const RoutingRecord& record = step.batch.routing;
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int t = span.first_token + part.first; t < span.first_token + part.last; ++t) {
      const std::span<ChosenExpert> chosen(chosen_.data() + place(t) * place(top_k), place(top_k));
      const GateChoice choice =
          choose_experts(sizes_.gate, {row_of(logits_, t, n_experts), place(n_experts)}, weights.router_bias,
                         span.budget, scratch_[place(step.member.index)], chosen);
      n_chosen_[place(t)] = choice.n_experts;
      const std::size_t row = place(moe_layer) * place(n_tokens) + place(t);
      if (record.dropped != nullptr) record.dropped[row] = choice.dropped_share;
      if (record.experts == nullptr) continue;
      for (int i = 0; i < top_k; ++i)
        record.experts[row * place(top_k) + place(i)] = i < choice.n_experts ? chosen[place(i)].expert : -1;
    }
  }
}

/// Sorts the chosen pairs by expert, and by token within an expert.
void MoeRunner::sort_tokens(const Step& step, const MoeWeights& weights) noexcept {
  const int n_tokens = step.n_tokens(), top_k = sizes_.gate.top_k, n_experts = sizes_.gate.n_experts;
  const int first_row = weights.has_shared() ? n_tokens : 0;  // the shared expert's rows come first
  std::fill(expert_begin_.begin(), expert_begin_.end(), 0);
  for (int t = 0; t < n_tokens; ++t)
    for (int i = 0; i < n_chosen_[place(t)]; ++i) ++expert_begin_[place(chosen_[place(t * top_k + i)].expert) + 1];
  for (int e = 0; e < n_experts; ++e) expert_begin_[place(e) + 1] += expert_begin_[place(e)];
  for (int t = 0; t < n_tokens; ++t) {
    for (int i = 0; i < n_chosen_[place(t)]; ++i) {
      const std::size_t pair = place(t * top_k + i);
      const int row = expert_begin_[place(chosen_[pair].expert)]++;  // becomes the begin of the next expert
      tokens_by_expert_[place(row)] = t;
      chosen_rows_[pair] = first_row + row;
    }
  }
}

/// After sort_tokens(), which leaves in expert_begin_ where each expert's tokens end.
std::span<const int> MoeRunner::tokens_of(int expert) const noexcept {
  const int begin = expert == 0 ? 0 : expert_begin_[place(expert) - 1];
  return {tokens_by_expert_.data() + begin, place(expert_begin_[place(expert)] - begin)};
}

int MoeRunner::first_row_of(int expert, const MoeWeights& weights, int n_tokens) const noexcept {
  return (weights.has_shared() ? n_tokens : 0) + (expert == 0 ? 0 : expert_begin_[place(expert) - 1]);
}

void MoeRunner::run_experts(const Step& step, const MoeWeights& weights) noexcept {
  if (step.member.index == 0) {
    const int n_tokens = step.n_tokens();
    batch_.clear();
    if (weights.has_shared()) batch_.add_group(weights.shared, {all_tokens_.data(), place(n_tokens)}, 0);
    for (int e = 0; e < sizes_.gate.n_experts; ++e)
      batch_.add_group(weights.experts[place(e)], tokens_of(e), first_row_of(e, weights, n_tokens));
    batch_.finish_groups(step.member);
  }
  step.member.wait();
  batch_.run(step);
}

/// In waves: the shared expert and those that are there, while the others are read; then those that have come. Each
/// expert's product is the same in any wave, and the sum comes afterwards.
void MoeRunner::run_cached_experts(const Step& step, const MoeWeights& weights, int moe_layer) noexcept {
  const int n_tokens = step.n_tokens();
  const bool first_member = step.member.index == 0;
  ExpertCache& cache = *weights.cache;
  if (first_member) {
    wanted_.clear();
    for (int e = 0; e < sizes_.gate.n_experts; ++e)
      if (!tokens_of(e).empty()) wanted_.push_back(e);
    cache.begin(moe_layer, wanted_);
  }
  bool with_shared = weights.has_shared();  // in the first wave
  while (true) {
    if (first_member) {
      batch_.clear();
      if (with_shared) batch_.add_group(weights.shared, {all_tokens_.data(), place(n_tokens)}, 0);
      const std::span<const int> wave = cache.next(!with_shared);
      step.member.waited_outside(cache.waited_seconds());
      for (const int e : wave) batch_.add_group(cache.expert(e), tokens_of(e), first_row_of(e, weights, n_tokens));
      batch_.finish_groups(step.member);
      more_waves_ = with_shared || !wave.empty();
    }
    step.member.wait();
    if (!more_waves_) break;
    batch_.run(step);
    with_shared = false;
  }
  if (!first_member) return;
  if (cache.failure().section != nullptr && failed_cache_ == nullptr) {
    failed_cache_ = &cache;
    failure_ = cache.failure();
  }
  cache.end();
}

/// Experts are added by ascending id, then the shared one, then all of it to x.
void MoeRunner::add_outputs(const Step& step, const MoeWeights& weights, const AlignedBuffer& x,
                            const AlignedBuffer& normed) noexcept {
  const int hidden = sizes_.hidden_size, top_k = sizes_.gate.top_k;
  const auto part = step.member.part(step.n_tokens());
  for (int t = part.first; t < part.last; ++t) {
    float factor = 1.0f;
    float* sum = row_of(normed, t, hidden);
    if (!weights.shared_gate.empty()) {
      double dot = 0;
      for (int i = 0; i < hidden; ++i)
        dot += static_cast<double>(sum[i]) * static_cast<double>(weights.shared_gate[place(i)]);
      factor = static_cast<float>(1.0 / (1.0 + std::exp(-dot)));
    }
    std::fill_n(sum, hidden, 0.0f);  // the normed row has been used
    for (int i = 0; i < n_chosen_[place(t)]; ++i) {
      const std::size_t pair = place(t * top_k + i);
      step.kernels.add_scaled(sum, batch_.output(chosen_rows_[pair]), chosen_[pair].weight, hidden);
    }
    if (weights.has_shared()) step.kernels.add_scaled(sum, batch_.output(t), factor, hidden);
    step.kernels.add(row_of(x, t, hidden), sum, hidden);
  }
}

}  // namespace moebox

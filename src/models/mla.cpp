#include "models/mla.h"

#include <algorithm>
#include <cstring>

namespace moebox {
namespace {

constexpr int lanes = query_lanes;
constexpr int tile = lane_tile_positions;
// Positions are split over members only where there are fewer tokens than this for each.
constexpr int split_units_per_member = 2;

int blocks_of(int n, int size) noexcept { return (n + size - 1) / size; }

}  // namespace

MlaRunner::MlaRunner(const MlaSpec& spec, KvType kv_type, ActivationTypes types, int hidden_size, int max_tokens,
                     int max_positions, int n_threads)
    : spec_(spec),
      n_groups_(blocks_of(spec.n_heads, lanes)),
      max_segments_(blocks_of(max_positions, kv_segment_tokens)),
      latent_state_floats_(lane_state_floats(spec.kv_lora_rank)),
      rope_(spec.rope, max_tokens),
      activations_(types, max_tokens, std::max({hidden_size, spec.q_lora_rank, spec.n_heads * spec.v_head_dim})),
      q_latent_(float_rows(max_tokens, std::max(1, spec.q_lora_rank))),
      q_(float_rows(max_tokens, spec.n_heads * spec.qk_head_dim())),
      latent_(float_rows(max_tokens, spec.latent_dim())),
      absorbed_(float_rows(max_tokens, spec.n_heads * spec.latent_dim())),
      attended_(float_rows(max_tokens, spec.n_heads * spec.v_head_dim)),
      projected_(float_rows(max_tokens, hidden_size)) {
  kv_ = {kv_type, 0, 0, spec.latent_dim()};
  head_units_.reserve(static_cast<std::size_t>(max_tokens + 1) * static_cast<std::size_t>(spec.n_heads));
  const auto split_units = static_cast<std::size_t>(split_units_per_member * n_threads);
  latent_units_.reserve(static_cast<std::size_t>(max_tokens) * static_cast<std::size_t>(n_groups_) +
                        split_units * static_cast<std::size_t>(max_segments_));
  merges_.reserve(split_units);
  generated_.reserve(static_cast<std::size_t>(max_tokens));
  partials_ = AlignedBuffer(split_units * static_cast<std::size_t>(max_segments_) *
                            static_cast<std::size_t>(latent_state_floats_) * sizeof(float));
  const int n_lane_groups = blocks_of(max_tokens, lanes);
  scratch_floats_[0] = std::max(n_lane_groups * rounded_query_floats(spec.qk_head_dim()), spec.latent_dim() * lanes);
  scratch_floats_[1] = std::max(n_lane_groups * lane_state_floats(spec.v_head_dim), 2 * latent_state_floats_);
  scratch_floats_[2] = tile * spec.latent_dim();
  scratch_floats_[3] = tile * spec.qk_head_dim();
  scratch_floats_[4] = std::max(tile, max_tokens) * spec.v_head_dim;
  scratch_floats_[5] = rounded_key_floats(spec.qk_head_dim());
  scratch_floats_[6] = rounded_value_floats(spec.v_head_dim);
  std::size_t bytes = 0;
  for (const ActivationType type : {ActivationType::f32, ActivationType::int8_block32, ActivationType::int8_block256})
    if (types.contains(type))
      bytes = std::max(bytes, activation_bytes(type, std::max(tile, max_tokens),
                                               std::max(spec.kv_lora_rank, spec.qk_nope_head_dim) + 255));
  for (int& floats : scratch_floats_) {
    floats = blocks_of(floats, lanes) * lanes;
    bytes += static_cast<std::size_t>(floats) * sizeof(float);
  }
  scratch_bytes_ = (bytes + 127) / 64 * 64;
  scratch_ = AlignedBuffer(static_cast<std::size_t>(n_threads) * scratch_bytes_);
}

MlaRunner::Scratch MlaRunner::scratch(const Step& step) const noexcept {
  std::byte* at = scratch_.bytes() + static_cast<std::size_t>(step.member.index) * scratch_bytes_;
  float* parts[7];
  for (int i = 0; i < 7; ++i) {
    parts[i] = reinterpret_cast<float*>(at);
    at += static_cast<std::size_t>(scratch_floats_[i]) * sizeof(float);
  }
  return {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], at};
}

void MlaRunner::prepare(const Batch& batch, int n_threads) noexcept {
  head_units_.clear();
  latent_units_.clear();
  merges_.clear();
  generated_.clear();
  for (auto& value : counters_) value = 0;
  for (int s = 0; s < static_cast<int>(batch.spans.size()); ++s) {
    const BatchSpan& span = batch.spans[static_cast<std::size_t>(s)];
    if (span.role == Role::prompt) {
      for (int head = 0; head < spec_.n_heads; ++head) head_units_.push_back({s, head});
    } else {
      for (int i = 0; i < span.n_tokens; ++i) generated_.push_back({span.first_token + i, s, span.first_position + i});
    }
  }
  if (generated_.empty()) return;
  for (int head = 0; head < spec_.n_heads; ++head) head_units_.push_back({-1, head});
  const int n_units = static_cast<int>(generated_.size()) * n_groups_;
  const bool may_split = n_threads > 1 && n_units <= split_units_per_member * n_threads;
  int partial = 0;
  for (int g = 0; g < static_cast<int>(generated_.size()); ++g) {
    const int n_segments = blocks_of(generated_[static_cast<std::size_t>(g)].position + 1, kv_segment_tokens);
    for (int group = 0; group < n_groups_; ++group) {
      if (!may_split || n_segments == 1) {
        latent_units_.push_back({g, group, -1, n_segments, 0});
        continue;
      }
      merges_.push_back({g, group, -1, n_segments, partial});
      for (int segment = 0; segment < n_segments; ++segment)
        latent_units_.push_back({g, group, segment, n_segments, partial});
      partial += n_segments;
    }
  }
}

void MlaRunner::run(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
                    const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed,
                    int first_position) noexcept {
  const Cached cached{kv, layer, first_position};
  project(step, weights, norm, epsilon, kv, layer, x, normed);
  run_heads(step, weights, cached);
  step.member.wait();
  if (!generated_.empty()) {
    run_latent(step, cached);
    step.member.wait();
    expand_outputs(step, weights);
    step.member.wait();
  }
  project_and_add(step, attended_, weights.output, weights.output_bias, activations_, projected_, x);
}

void MlaRunner::store(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
                      const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed) noexcept {
  norm_and_quantize(step, x, norm, epsilon, {&weights.kv_a}, normed, activations_);
  multiply(step.member, step.kernels, activations_, step.n_tokens(),
           {{&weights.kv_a, latent_.floats(), spec_.latent_dim()}});
  step.member.wait();
  store_latents(step, weights, kv, layer);
  step.member.wait();
}

/// Queries and latents of the batch; the latents go to the cache. Ends with a barrier.
void MlaRunner::project(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
                        const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed) noexcept {
  const int n_tokens = step.n_tokens(), q_size = spec_.n_heads * spec_.qk_head_dim(), rank = spec_.q_lora_rank;
  norm_and_quantize(step, x, norm, epsilon, {&weights.first_q(), &weights.kv_a}, normed, activations_);
  multiply(step.member, step.kernels, activations_, n_tokens,
           {{&weights.first_q(), rank > 0 ? q_latent_.floats() : q_.floats(), rank > 0 ? rank : q_size},
            {&weights.kv_a, latent_.floats(), spec_.latent_dim()}});
  step.member.wait();
  store_latents(step, weights, kv, layer);
  if (rank > 0) {
    const auto part = step.member.part(n_tokens);
    for (int t = part.first; t < part.last; ++t) {
      float* row = row_of(q_latent_, t, rank);
      if (!weights.q_a_bias.empty()) step.kernels.add(row, weights.q_a_bias.data(), rank);
      step.kernels.rms_norm(row, weights.q_a_norm.data(), spec_.latent_epsilon, rank, row);
    }
    activations_.quantize_rows(step.kernels, {&weights.q_b}, q_latent_.floats(), rank, n_tokens, rank, part.first,
                               part.last);
    step.member.wait();
    multiply(step.member, step.kernels, activations_, n_tokens, {{&weights.q_b, q_.floats(), q_size}});
  }
  // The counters of the layer after this one: nobody counts there now, and a barrier follows.
  if (step.member.index == 0)
    for (int phase = 0; phase < 2; ++phase) counter(layer + 1, phase).store(0, std::memory_order_relaxed);
  step.member.wait();
}

void MlaRunner::store_latents(const Step& step, const MlaWeights& weights, const KvBlocks& kv, int layer) noexcept {
  const int rank = spec_.kv_lora_rank, dim = spec_.latent_dim();
  const std::size_t row_bytes = kv_.row_bytes(dim);
  for (const BatchSpan& span : step.batch.spans) {
    const auto part = step.member.part(span.n_tokens);
    for (int i = part.first; i < part.last; ++i) {
      const int t = span.first_token + i, position = span.first_position + i;
      float* row = row_of(latent_, t, dim);
      if (!weights.kv_a_bias.empty()) step.kernels.add(row, weights.kv_a_bias.data(), dim);
      step.kernels.rms_norm(row, weights.kv_a_norm.data(), spec_.latent_epsilon, rank, row);
      step.kernels.rope(row + rank, rope_.cos(t), rope_.sin(t), spec_.qk_rope_head_dim, spec_.rope.interleaved);
      std::byte* block = kv.block(layer, span.blocks[static_cast<std::size_t>(position / kv_block_tokens)]);
      step.kernels.round_kv(kv_.type, row, dim,
                            block + static_cast<std::size_t>(position % kv_block_tokens) * row_bytes);
    }
  }
}

void MlaRunner::read_latents(const Step& step, const Cached& cached, const BatchSpan& span, int first, int n_rows,
                             float* out) const noexcept {
  const int dim = spec_.latent_dim();
  for (int done = 0; done < n_rows; done += kv_block_tokens) {  // `first` is the begin of a block
    const std::byte* block =
        cached.kv.block(cached.layer, span.blocks[static_cast<std::size_t>((first + done) / kv_block_tokens)]);
    const int n = std::min(kv_block_tokens, n_rows - done);
    step.kernels.widen_kv(kv_.type, block, n, dim, out + static_cast<std::ptrdiff_t>(done) * dim);
  }
  std::fill_n(out, cached.missing(first) * dim, 0.0f);
}

// ---- the expanded form, and the queries of the absorbed one ----

void MlaRunner::run_heads(const Step& step, const MlaWeights& weights, const Cached& cached) noexcept {
  std::atomic<int>& next = counter(cached.layer, 0);
  const int n_units = static_cast<int>(head_units_.size());
  for (int u = next.fetch_add(1, std::memory_order_relaxed); u < n_units;
       u = next.fetch_add(1, std::memory_order_relaxed)) {
    const HeadUnit& unit = head_units_[static_cast<std::size_t>(u)];
    if (unit.span < 0)
      absorb_queries(step, weights, unit.head);
    else
      attend_expanded(step, weights, cached, unit);
  }
}

/// Rotates the part of a token's query that has positions, in place.
void MlaRunner::rotate(const Step& step, int token, float* q) const noexcept {
  step.kernels.rope(q + spec_.qk_nope_head_dim, rope_.cos(token), rope_.sin(token), spec_.qk_rope_head_dim,
                    spec_.rope.interleaved);
}

/// Whether attention over expanded keys and values is on numbers rounded to BF16: where these come from activations of
/// 8 bits anyway, and the cache is not asked for more.
bool MlaRunner::rounds(const MlaWeights& weights) const noexcept {
  return kv_.type != KvType::f32 && activation_type(weights.k.front().dtype) != ActivationType::f32 &&
         activation_type(weights.v.front().dtype) != ActivationType::f32;
}

/// The queries of a head, rotated and scaled, 16 tokens side by side.
void MlaRunner::gather_queries(const Step& step, const HeadUnit& unit, bool rounded, float* out) noexcept {
  const BatchSpan& span = step.batch.spans[static_cast<std::size_t>(unit.span)];
  const int key_dim = spec_.qk_head_dim(), group_floats = rounded_query_floats(key_dim);
  for (int begin = 0; begin < span.n_tokens; begin += lanes, out += group_floats) {
    const int n = std::min(lanes, span.n_tokens - begin);
    if (n < lanes) std::memset(out, 0, static_cast<std::size_t>(group_floats) * sizeof(float));
    for (int i = 0; i < n; ++i) {
      const int t = span.first_token + begin + i;
      float* q = row_of(q_, t, spec_.n_heads * key_dim) + unit.head * key_dim;
      rotate(step, t, q);
      for (int d = 0; d < key_dim; ++d) out[d * lanes + i] = q[d] * spec_.softmax_scale;
    }
    if (rounded) step.kernels.round_queries(key_dim, out, reinterpret_cast<std::byte*>(out));
  }
}

void MlaRunner::attend_expanded(const Step& step, const MlaWeights& weights, const Cached& cached,
                                const HeadUnit& unit) noexcept {
  const BatchSpan& span = step.batch.spans[static_cast<std::size_t>(unit.span)];
  const Scratch memory = scratch(step);
  const int key_dim = spec_.qk_head_dim(), value_dim = spec_.v_head_dim;
  const int state_floats = lane_state_floats(value_dim), n_lane_groups = blocks_of(span.n_tokens, lanes);
  const bool rounded = rounds(weights);
  gather_queries(step, unit, rounded, memory.q);
  for (int g = 0; g < n_lane_groups; ++g) step.kernels.lanes_begin(value_dim, memory.state + g * state_floats);

  const int n_positions = span.first_position + span.n_tokens;
  for (int first = 0; first < n_positions; first += tile) {
    const int n_rows = std::min(tile, n_positions - first);
    const int missing = cached.missing(first), n_there = n_rows - missing;
    read_latents(step, cached, span, first, n_rows, memory.latents);
    expand_tile(step, weights, unit.head, n_rows, memory);
    const float *there_keys = memory.keys + missing * key_dim, *there_values = memory.values + missing * value_dim;
    auto* keys = reinterpret_cast<std::byte*>(memory.rounded_keys);
    auto* values = reinterpret_cast<std::byte*>(memory.rounded_values);
    if (rounded) {
      step.kernels.round_keys(there_keys, key_dim, n_there, key_dim, keys);
      step.kernels.round_values(there_values, value_dim, n_there, value_dim, values);
    }
    for (int g = 0; g < n_lane_groups; ++g) {
      int visible[lanes];
      for (int i = 0; i < lanes; ++i)
        visible[i] = span.first_position + std::min(g * lanes + i, span.n_tokens - 1) + 1 - missing;
      const float* q = memory.q + static_cast<std::ptrdiff_t>(g) * rounded_query_floats(key_dim);
      float* state = memory.state + g * state_floats;
      if (rounded)
        step.kernels.lanes_fold_rounded({key_dim, value_dim, reinterpret_cast<const std::byte*>(q), visible, state},
                                        {keys, values, first, n_there});
      else
        step.kernels.lanes_fold({key_dim, value_dim, q, visible, state},
                                {there_keys, key_dim, there_values, value_dim, first, n_there});
    }
  }
  for (int g = 0; g < n_lane_groups; ++g) step.kernels.lanes_finish(value_dim, memory.state + g * state_floats);
  for (int i = 0; i < span.n_tokens; ++i) {
    float* out = row_of(attended_, span.first_token + i, spec_.n_heads * value_dim) + unit.head * value_dim;
    const float* from = memory.state + i / lanes * state_floats + 2 * lanes + i % lanes;
    for (int d = 0; d < value_dim; ++d) out[d] = from[d * lanes];
  }
}

/// Keys and values of a head from the latents of a tile.
void MlaRunner::expand_tile(const Step& step, const MlaWeights& weights, int head, int n_rows,
                            const Scratch& memory) noexcept {
  const int dim = spec_.latent_dim(), rank = spec_.kv_lora_rank, key_dim = spec_.qk_head_dim();
  const PackedMatrix& k = weights.k[static_cast<std::size_t>(head)];
  const PackedMatrix& v = weights.v[static_cast<std::size_t>(head)];
  const ActivationType k_type = activation_type(k.dtype), v_type = activation_type(v.dtype);
  step.kernels.quantize(k_type, memory.latents, dim, n_rows, rank, 0, n_rows, memory.activations);
  step.kernels.matmul(k, memory.activations, n_rows, 0, k.n_panels(), memory.keys, key_dim);
  if (v_type != k_type) step.kernels.quantize(v_type, memory.latents, dim, n_rows, rank, 0, n_rows, memory.activations);
  step.kernels.matmul(v, memory.activations, n_rows, 0, v.n_panels(), memory.values, spec_.v_head_dim);
  for (int r = 0; r < n_rows; ++r)
    std::memcpy(memory.keys + static_cast<std::ptrdiff_t>(r) * key_dim + spec_.qk_nope_head_dim,
                memory.latents + static_cast<std::ptrdiff_t>(r) * dim + rank,
                static_cast<std::size_t>(spec_.qk_rope_head_dim) * sizeof(float));
}

void MlaRunner::absorb_queries(const Step& step, const MlaWeights& weights, int head) noexcept {
  const Scratch memory = scratch(step);
  const PackedMatrix& absorb = weights.k_absorbed[static_cast<std::size_t>(head)];
  const int n = static_cast<int>(generated_.size()), nope = spec_.qk_nope_head_dim, dim = spec_.latent_dim();
  const ActivationType type = activation_type(absorb.dtype);
  for (int g = 0; g < n; ++g) {
    const int t = generated_[static_cast<std::size_t>(g)].token;
    float* q = row_of(q_, t, spec_.n_heads * spec_.qk_head_dim()) + head * spec_.qk_head_dim();
    rotate(step, t, q);
    step.kernels.quantize(type, q, 0, n, nope, g, g + 1, memory.activations);
    std::memcpy(row_of(absorbed_, g, spec_.n_heads * dim) + head * dim + spec_.kv_lora_rank, q + nope,
                static_cast<std::size_t>(spec_.qk_rope_head_dim) * sizeof(float));
  }
  step.kernels.matmul(absorb, memory.activations, n, 0, absorb.n_panels(), absorbed_.floats() + head * dim,
                      static_cast<std::ptrdiff_t>(spec_.n_heads) * dim);
}

// ---- the absorbed form ----

void MlaRunner::run_latent(const Step& step, const Cached& cached) noexcept {
  std::atomic<int>& next = counter(cached.layer, 1);
  const Scratch memory = scratch(step);
  const int rank = spec_.kv_lora_rank, n_units = static_cast<int>(latent_units_.size());
  for (int u = next.fetch_add(1, std::memory_order_relaxed); u < n_units;
       u = next.fetch_add(1, std::memory_order_relaxed)) {
    const LatentUnit& unit = latent_units_[static_cast<std::size_t>(u)];
    if (unit.segment >= 0) {
      attend_segment(step, cached, unit, unit.segment,
                     row_of(partials_, unit.partial + unit.segment, latent_state_floats_));
      continue;
    }
    float *state = memory.state, *part = memory.state + latent_state_floats_;
    step.kernels.lanes_begin(rank, state);
    for (int segment = 0; segment < unit.n_segments; ++segment) {
      attend_segment(step, cached, unit, segment, part);
      step.kernels.lanes_merge(rank, part, state);
    }
    step.kernels.lanes_finish(rank, state);
    write_latent_output(unit, state);
  }
  if (merges_.empty()) return;
  step.member.wait();
  const auto part = step.member.part(static_cast<int>(merges_.size()));
  for (int m = part.first; m < part.last; ++m) {
    const LatentUnit& unit = merges_[static_cast<std::size_t>(m)];
    step.kernels.lanes_begin(rank, memory.state);
    for (int segment = 0; segment < unit.n_segments; ++segment)
      step.kernels.lanes_merge(rank, row_of(partials_, unit.partial + segment, latent_state_floats_), memory.state);
    step.kernels.lanes_finish(rank, memory.state);
    write_latent_output(unit, memory.state);
  }
}

/// The state of 16 heads of a token after the positions of one segment.
void MlaRunner::attend_segment(const Step& step, const Cached& cached, const LatentUnit& unit, int segment,
                               float* state) noexcept {
  const Scratch memory = scratch(step);
  const GeneratedToken& token = generated_[static_cast<std::size_t>(unit.generated)];
  const BatchSpan& span = step.batch.spans[static_cast<std::size_t>(token.span)];
  const int dim = spec_.latent_dim(), first_head = unit.group * lanes;
  const float* q = row_of(absorbed_, unit.generated, spec_.n_heads * dim);
  std::memset(memory.q, 0, static_cast<std::size_t>(dim * lanes) * sizeof(float));
  for (int i = 0; i < std::min(lanes, spec_.n_heads - first_head); ++i)
    for (int d = 0; d < dim; ++d) memory.q[d * lanes + i] = q[(first_head + i) * dim + d] * spec_.softmax_scale;
  step.kernels.lanes_begin(spec_.kv_lora_rank, state);
  const int begin = segment * kv_segment_tokens, end = std::min(begin + kv_segment_tokens, token.position + 1);
  for (int first = begin; first < end; first += tile) {
    const int n_rows = std::min(tile, end - first);
    const int missing = cached.missing(first);
    int visible[lanes];
    std::fill_n(visible, lanes, token.position + 1 - missing);
    read_latents(step, cached, span, first, n_rows, memory.latents);
    const float* there = memory.latents + missing * dim;
    step.kernels.lanes_fold({dim, spec_.kv_lora_rank, memory.q, visible, state},
                            {there, dim, there, dim, first, n_rows - missing});
  }
}

/// Writes over the query, whose every reader has another group of heads: the same token's units of one group share the
/// query only where segments are split, and there a barrier lies between.
void MlaRunner::write_latent_output(const LatentUnit& unit, const float* state) noexcept {
  const int dim = spec_.latent_dim(), first_head = unit.group * lanes;
  float* out = row_of(absorbed_, unit.generated, spec_.n_heads * dim);
  for (int i = 0; i < std::min(lanes, spec_.n_heads - first_head); ++i)
    for (int d = 0; d < spec_.kv_lora_rank; ++d) out[(first_head + i) * dim + d] = state[(2 + d) * lanes + i];
}

/// The heads' values from the latents that attention left.
void MlaRunner::expand_outputs(const Step& step, const MlaWeights& weights) noexcept {
  const Scratch memory = scratch(step);
  const int n = static_cast<int>(generated_.size()), dim = spec_.latent_dim(), value_dim = spec_.v_head_dim;
  const auto part = step.member.part(spec_.n_heads);
  for (int head = part.first; head < part.last; ++head) {
    const PackedMatrix& v = weights.v[static_cast<std::size_t>(head)];
    const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(spec_.n_heads) * dim;
    step.kernels.quantize(activation_type(v.dtype), absorbed_.floats() + head * dim, stride, n, spec_.kv_lora_rank, 0,
                          n, memory.activations);
    step.kernels.matmul(v, memory.activations, n, 0, v.n_panels(), memory.values, value_dim);
    for (int g = 0; g < n; ++g)
      std::memcpy(row_of(attended_, generated_[static_cast<std::size_t>(g)].token, spec_.n_heads * value_dim) +
                      head * value_dim,
                  memory.values + static_cast<std::ptrdiff_t>(g) * value_dim,
                  static_cast<std::size_t>(value_dim) * sizeof(float));
  }
}

}  // namespace moebox

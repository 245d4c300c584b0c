#include "models/attention.h"

#include <algorithm>

namespace moebox {
namespace {

// Queries of one unit: enough to reuse keys in registers, few enough that two threads stay busy on a short prompt.
constexpr int tile_tokens = 16;
// Positions are split over threads only for single queries of few sequences: others give work enough.
constexpr int max_split_spans_per_thread = 2;

int segments(int n_positions) { return (n_positions + kv_segment_tokens - 1) / kv_segment_tokens; }

}  // namespace

AttentionPlan::AttentionPlan(const AttentionShape& shape, int max_tokens, int max_positions, int n_threads)
    : shape_(shape),
      group_(shape.n_heads / shape.kv.n_kv_heads),
      partial_floats_(attention_partial_floats(shape.kv.head_dim)),
      max_segments_(segments(max_positions)),
      max_blocks_((max_positions + kv_block_tokens - 1) / kv_block_tokens) {
  const auto split_spans = static_cast<std::size_t>(max_split_spans_per_thread * n_threads);
  const auto kv_heads = static_cast<std::size_t>(shape.kv.n_kv_heads);
  units_.reserve((static_cast<std::size_t>(max_tokens) + split_spans * static_cast<std::size_t>(max_segments_)) *
                 kv_heads);
  combines_.reserve(split_spans * kv_heads);
  const std::size_t group_partial_bytes =
      static_cast<std::size_t>(group_ * partial_floats_) * sizeof(float) * static_cast<std::size_t>(max_segments_);
  split_partials_ = AlignedBuffer(split_spans * kv_heads * group_partial_bytes);
  scratch_ = AlignedBuffer(static_cast<std::size_t>(n_threads) * tile_tokens * group_partial_bytes);
  pointers_.resize(static_cast<std::size_t>(n_threads) * static_cast<std::size_t>(max_blocks_));
}

void AttentionPlan::prepare(const Batch& batch, int n_threads) noexcept {
  units_.clear();
  combines_.clear();
  next_[0] = next_[1] = 0;
  const int n_spans = static_cast<int>(batch.spans.size());
  const bool may_split = n_threads > 1 && n_spans <= max_split_spans_per_thread * n_threads;
  int partial = 0;
  for (int s = 0; s < n_spans; ++s) {
    const BatchSpan& span = batch.spans[static_cast<std::size_t>(s)];
    const int n_segments = segments(span.first_position + span.n_tokens);
    for (int head = 0; head < shape_.kv.n_kv_heads; ++head) {
      if (may_split && span.n_tokens == 1 && n_segments > 1) {
        combines_.push_back({s, head, 0, 1, n_segments, partial});
        for (int segment = 0; segment < n_segments; ++segment)
          units_.push_back({s, head, 0, 1, segment, partial + segment * group_});
        partial += n_segments * group_;
        continue;
      }
      // Later queries see more and cost more: they come first.
      for (int first = (span.n_tokens - 1) / tile_tokens * tile_tokens; first >= 0; first -= tile_tokens)
        units_.push_back({s, head, first, std::min(first + tile_tokens, span.n_tokens), -1, 0});
    }
  }
}

AttentionArgs AttentionPlan::arguments(const Batch& batch, const Unit& unit, const float* q,
                                       float* out) const noexcept {
  const BatchSpan& span = batch.spans[static_cast<std::size_t>(unit.span)];
  AttentionArgs args;
  args.kv = shape_.kv;
  args.n_heads = shape_.n_heads;
  args.scale = shape_.scale;
  args.q_stride = args.out_stride = static_cast<std::ptrdiff_t>(shape_.n_heads) * shape_.kv.head_dim;
  args.q = q + span.first_token * args.q_stride;
  args.out = out + span.first_token * args.out_stride;
  args.first_position = span.first_position;
  args.n_tokens = span.n_tokens;
  return args;
}

const std::byte* const* AttentionPlan::block_pointers(const TeamMember& member, const KvBlocks& kv, int layer,
                                                      const BatchSpan& span, int last_position) noexcept {
  const std::byte** pointers = pointers_.data() + static_cast<std::ptrdiff_t>(member.index) * max_blocks_;
  for (int i = 0; i <= last_position / kv_block_tokens; ++i)
    pointers[i] = kv.block(layer, span.blocks[static_cast<std::size_t>(i)]);
  return pointers;
}

void AttentionPlan::run_whole(const TeamMember& member, const KernelTable& kernels, const AttentionArgs& args,
                              const Unit& unit) noexcept {
  const std::ptrdiff_t segment_stride = static_cast<std::ptrdiff_t>(tile_tokens) * group_ * partial_floats_;
  float* partials = scratch_.floats() + member.index * segment_stride * max_segments_;
  const int n_segments = segments(args.first_position + unit.last);
  for (int segment = 0; segment < n_segments; ++segment)
    kernels.attend_segment(args, unit.kv_head, unit.first, unit.last, segment, partials + segment * segment_stride);
  kernels.attend_combine(args, unit.kv_head, unit.first, unit.last, n_segments, partials, segment_stride);
}

void AttentionPlan::run(const TeamMember& member, const KernelTable& kernels, const KvBlocks& kv, int layer,
                        const Batch& batch, const float* q, float* out) noexcept {
  std::atomic<int>& next = next_[layer & 1];
  next_[(layer + 1) & 1].store(
      0, std::memory_order_relaxed);  // nobody counts there now: a barrier lies between two layers
  const int n_units = static_cast<int>(units_.size());
  for (int index = next.fetch_add(1, std::memory_order_relaxed); index < n_units;
       index = next.fetch_add(1, std::memory_order_relaxed)) {
    const Unit& unit = units_[static_cast<std::size_t>(index)];
    const BatchSpan& span = batch.spans[static_cast<std::size_t>(unit.span)];
    AttentionArgs args = arguments(batch, unit, q, out);
    args.blocks = block_pointers(member, kv, layer, span, span.first_position + unit.last - 1);
    if (unit.segment < 0)
      run_whole(member, kernels, args, unit);
    else
      kernels.attend_segment(args, unit.kv_head, unit.first, unit.last, unit.segment,
                             split_partials_.floats() + static_cast<std::ptrdiff_t>(unit.partial) * partial_floats_);
  }
  if (combines_.empty()) return;
  member.wait();
  const auto part = member.part(static_cast<int>(combines_.size()));
  for (int index = part.first; index < part.last; ++index) {
    const Unit& unit = combines_[static_cast<std::size_t>(index)];
    const AttentionArgs args = arguments(batch, unit, q, out);
    kernels.attend_combine(args, unit.kv_head, unit.first, unit.last, unit.segment,
                           split_partials_.floats() + static_cast<std::ptrdiff_t>(unit.partial) * partial_floats_,
                           static_cast<std::ptrdiff_t>(group_) * partial_floats_);
  }
}

}  // namespace moebox

// Attention of a ragged batch over paged keys and values: which member computes which queries over which positions.
// The arithmetic is the kernels'; no choice made here can change a bit of the result.
#pragma once

#include <atomic>
#include <vector>

#include "base/thread_team.h"
#include "models/linear.h"
#include "models/model.h"

namespace moebox {

struct AttentionShape {
  KvShape kv;
  int n_heads = 0;
  float scale = 0;
};

class AttentionPlan {
 public:
  AttentionPlan(const AttentionShape& shape, int max_tokens, int max_positions, int n_threads);

  std::size_t size() const noexcept { return total_size({&split_partials_, &scratch_}); }  // bytes
  /// Cuts the batch into units of work; one member calls it, and a barrier must follow.
  void prepare(const Batch& batch, int n_threads) noexcept;

  /// One layer: q and out (n_tokens, n_heads * head_dim). All members call it; outputs are complete when all have
  /// returned, and a barrier must follow. Keys and values of the batch have been stored, with a barrier after.
  void run(const TeamMember& member, const KernelTable& kernels, const KvBlocks& kv, int layer, const Batch& batch,
           const float* q, float* out) noexcept;

 private:
  /// Queries [first, last) of a span against one key head; over one segment, or (segment < 0) over all. In combines_,
  /// `segment` counts them.
  struct Unit {
    int span, kv_head, first, last, segment;
    int partial;  // index of the first partial in split_partials_, where segments are computed apart
  };

  AttentionArgs arguments(const Batch& batch, const Unit& unit, const float* q, float* out) const noexcept;
  const std::byte* const* block_pointers(const TeamMember& member, const KvBlocks& kv, int layer, const BatchSpan& span,
                                         int last_position) noexcept;
  void run_whole(const TeamMember& member, const KernelTable& kernels, const AttentionArgs& args,
                 const Unit& unit) noexcept;

  AttentionShape shape_;
  int group_;           // query heads of a key head
  int partial_floats_;  // of one query head
  int max_segments_;
  int max_blocks_;
  std::vector<Unit> units_, combines_;
  std::atomic<int> next_[2] = {0, 0};  // taken in turn by layers, so that one can be reset while the other counts
  AlignedBuffer split_partials_;
  AlignedBuffer scratch_;                   // (n_threads, max_segments, tile queries, partial)
  std::vector<const std::byte*> pointers_;  // (n_threads, max_blocks)
};

}  // namespace moebox

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1). The cache holds one latent and one rotated
// key a token; keys and values of the heads are products of the latent.
//
// Prompt tokens take the expanded form: keys and values of every position are computed from the latents, head by head.
// Generated tokens take the absorbed form: the head's key matrix is applied to the query, its value matrix to the
// result, and attention is over the latents themselves. Equal in exact arithmetic, they differ in rounding: so a
// token's role is an argument of its numbers (docs/determinism.md).
#pragma once

#include <atomic>
#include <vector>

#include "models/rope_table.h"
#include "models/step.h"
#include "models/weights.h"
#include "spec/deepseek.h"

namespace moebox {

struct MlaWeights {
  PackedMatrix q;                        // (n_heads * qk_head_dim, hidden_size); where there is no q_lora
  PackedMatrix q_a;                      // (q_lora_rank, hidden_size)
  std::vector<float> q_a_norm;           // (q_lora_rank)
  PackedMatrix q_b;                      // (n_heads * qk_head_dim, q_lora_rank)
  PackedMatrix kv_a;                     // (latent_dim, hidden_size)
  std::vector<float> kv_a_norm;          // (kv_lora_rank)
  std::vector<PackedMatrix> k;           // n_heads of (qk_nope_head_dim, kv_lora_rank): latent to key
  std::vector<PackedMatrix> k_absorbed;  // n_heads of (kv_lora_rank, qk_nope_head_dim): query to latent
  std::vector<PackedMatrix> v;           // n_heads of (v_head_dim, kv_lora_rank): latent to value
  PackedMatrix output;                   // (hidden_size, n_heads * v_head_dim)
  std::vector<float> q_a_bias, kv_a_bias, output_bias;  // empty: none

  const PackedMatrix& first_q() const noexcept { return q_a.n_rows > 0 ? q_a : q; }
  ActivationTypes types() const;
  /// Bytes that one generated token reads.
  std::size_t read_bytes_per_token() const noexcept;
  /// Multiply-adds of a prompt's token, its keys and values expanded once.
  std::int64_t products_per_prompt_token() const noexcept;
};

/// Takes a layer's tensors. `weights` must stay where it is until they are packed.
void load_mla(const MlaSpec& spec, TensorFinder& find, WeightPacker& packer, int layer, MlaWeights& weights);

/// Memory of a step, and the layers' forward.
class MlaRunner {
 public:
  MlaRunner(const MlaSpec& spec, KvType kv_type, ActivationTypes types, int hidden_size, int max_tokens,
            int max_positions, int n_threads);

  /// Bytes of the buffers.
  std::size_t size() const noexcept {
    return rope_.size() + activations_.size() +
           total_size({&q_latent_, &q_, &latent_, &absorbed_, &attended_, &projected_, &partials_, &scratch_});
  }
  /// Lists the step's work; one member calls it before the first layer. A barrier must follow.
  void prepare(const Batch& batch, int n_threads) noexcept;
  /// Fills this member's share of the rotations. A barrier must follow.
  void fill_rope(const Step& step) noexcept { rope_.fill(step.member, step.batch); }

  /// x (n_tokens, hidden_size) += attention of x, normed by `norm`; stores the tokens' latents. All members call it;
  /// ends with a barrier. `normed` like x is scratch. Positions before `first_position`, 0 or 1, are not there: no
  /// token has them, and none looks at them.
  void run(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
           const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed,
           int first_position = 0) noexcept;
  /// Only stores the tokens' latents: all that later tokens see of these.
  void store(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
             const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed) noexcept;

 private:
  /// A head of a prompt's span, or (span < 0) a head of all generated tokens.
  struct HeadUnit {
    int span, head;
  };
  /// 16 heads of a generated token, over one segment of positions or (segment < 0) over all.
  struct LatentUnit {
    int generated;  // index in generated_
    int group;      // of 16 heads
    int segment;
    int n_segments;
    int partial;  // of segment 0 in partials_; where segments are computed apart
  };
  struct GeneratedToken {
    int token, span, position;
  };
  /// What one member works with.
  struct Scratch {
    float* q;        // (max_tokens / 16, rounded_query_floats(qk_head_dim)), or (latent_dim, 16)
    float* state;    // (max_tokens / 16, lane_state(v_head_dim)), or 2 of lane_state(kv_lora_rank)
    float* latents;  // (tile, latent_dim)
    float* keys;     // (tile, qk_head_dim)
    float* values;   // (tile, v_head_dim); or (max_tokens, v_head_dim)
    float *rounded_keys, *rounded_values;
    std::byte* activations;
  };

  Scratch scratch(const Step& step) const noexcept;
  void project(const Step& step, const MlaWeights& weights, const std::vector<float>& norm, float epsilon,
               const KvBlocks& kv, int layer, const AlignedBuffer& x, const AlignedBuffer& normed) noexcept;
  void store_latents(const Step& step, const MlaWeights& weights, const KvBlocks& kv, int layer) noexcept;
  void rotate(const Step& step, int token, float* q) const noexcept;

  /// A layer's part of the cache.
  struct Cached {
    const KvBlocks& kv;
    int layer;
    int first_position;  // those before it are not there: 0 or 1
    int missing(int first) const noexcept { return first < first_position ? first_position - first : 0; }
  };
  void run_heads(const Step& step, const MlaWeights& weights, const Cached& cached) noexcept;
  void absorb_queries(const Step& step, const MlaWeights& weights, int head) noexcept;
  void attend_expanded(const Step& step, const MlaWeights& weights, const Cached& cached,
                       const HeadUnit& unit) noexcept;
  void gather_queries(const Step& step, const HeadUnit& unit, bool rounded, float* out) noexcept;
  bool rounds(const MlaWeights& weights) const noexcept;
  void expand_tile(const Step& step, const MlaWeights& weights, int head, int n_rows, const Scratch& memory) noexcept;

  void run_latent(const Step& step, const Cached& cached) noexcept;
  void attend_segment(const Step& step, const Cached& cached, const LatentUnit& unit, int segment,
                      float* state) noexcept;
  void write_latent_output(const LatentUnit& unit, const float* state) noexcept;
  void expand_outputs(const Step& step, const MlaWeights& weights) noexcept;

  /// Latents of n_rows positions from `first` on, as floats, into `out` (n_rows, latent_dim); zeros where none is.
  void read_latents(const Step& step, const Cached& cached, const BatchSpan& span, int first, int n_rows,
                    float* out) const noexcept;
  std::atomic<int>& counter(int layer, int phase) noexcept { return counters_[(layer & 1) * 2 + phase]; }

  MlaSpec spec_;
  KvShape kv_;
  int n_groups_;  // of 16 heads
  int max_segments_, latent_state_floats_;
  RopeTable rope_;
  Activations activations_;
  AlignedBuffer q_latent_;  // (max_tokens, q_lora_rank)
  AlignedBuffer q_;         // (max_tokens, n_heads * qk_head_dim)
  AlignedBuffer latent_;    // (max_tokens, latent_dim)
  AlignedBuffer absorbed_;  // (max_tokens, n_heads, latent_dim): queries against latents, then outputs (.., rank)
  AlignedBuffer attended_;  // (max_tokens, n_heads * v_head_dim)
  AlignedBuffer projected_;
  std::vector<HeadUnit> head_units_;
  std::vector<LatentUnit> latent_units_;
  std::vector<LatentUnit> merges_;  // what was computed in segments apart
  std::vector<GeneratedToken> generated_;
  std::atomic<int> counters_[4] = {};
  AlignedBuffer partials_;
  int scratch_floats_[7];  // as in Scratch
  std::size_t scratch_bytes_;
  AlignedBuffer scratch_;  // (n_threads, scratch_bytes)
};

}  // namespace moebox

// The table of compute kernels and the types in its signatures. It is apart from kernels.h because the files that are
// compiled for an instruction set include it: neither it nor what it includes has an inline function of the standard
// library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moebox {

enum class DType : std::uint8_t;
enum class Isa;

// ---- linear layers ----

inline constexpr int panel_rows = 32;

/// A weight matrix (n_rows, n_columns) as panels of 32 output rows; each panel is one contiguous stream over all
/// columns, its last rows zero when n_rows is not a multiple of 32. `data` is 64-byte aligned and not owned.
struct PackedMatrix {
  DType dtype{};  // f32
  int n_rows = 0;
  int n_columns = 0;
  std::size_t panel_bytes = 0;
  const std::byte* data = nullptr;

  int n_panels() const noexcept { return (n_rows + panel_rows - 1) / panel_rows; }
};

/// How the activations that meet a weight type are held. int8 with an f32 scale per 32 or per 256 columns, or plain
/// f32.
enum class ActivationType { f32, int8_block32, int8_block256 };

// ---- attention ----

/// Tokens of a KV block; attention walks blocks of this size at absolute positions.
inline constexpr int kv_block_tokens = 32;
/// Positions of a segment: segments are reduced apart and then combined in ascending order, whoever computed them.
inline constexpr int kv_segment_tokens = 512;

/// Q8_0 has groups of 32 values, along the dimensions of a head or of the latent, with an f16 scale: value = scale * q,
/// q of -127 .. 127. The last group of a row is shorter where 32 does not divide it. Whole groups of a head's keys are
/// rotated first, as are the queries that meet them.
enum class KvType : std::uint8_t { f16, f32, bf16, q8_0 };  // numbers that are stored: append
inline constexpr int kv_group_values = 32;

struct KvShape {
  KvType type = KvType::f16;
  int n_kv_heads = 0;
  int head_dim = 0;    // a multiple of 8, at most 256
  int latent_dim = 0;  // values that all heads share (multi-head latent attention); 0: keys and values apart

  /// Bytes of `row_values` values of one token.
  std::size_t row_bytes(int row_values) const noexcept {
    const auto n = static_cast<std::size_t>(row_values);
    if (type == KvType::f32) return 4 * n;
    if (type == KvType::q8_0) return n + 2 * ((n + kv_group_values - 1) / kv_group_values);
    return 2 * n;
  }
  /// Bytes of one layer's block: K as (n_kv_heads, head_dim, 32), then V as (n_kv_heads, 32, head_dim); or the latents
  /// as (32, latent_dim). In Q8_0 each head's K is followed by its scales (groups, 32), its V by (32, groups), and a
  /// latent's groups are blocks as ggml stores them: scale, 32 q.
  std::size_t block_bytes() const noexcept {
    if (latent_dim > 0) return kv_block_tokens * row_bytes(latent_dim);
    return std::size_t{2} * static_cast<std::size_t>(n_kv_heads) * kv_block_tokens * row_bytes(head_dim);
  }
};

/// One sequence's queries in one layer.
struct AttentionArgs {
  KvShape kv;
  int n_heads = 0;  // a multiple of kv.n_kv_heads
  float scale = 0;
  const float* q = nullptr;  // (n_tokens, n_heads * head_dim), rows q_stride floats apart
  std::ptrdiff_t q_stride = 0;
  float* out = nullptr;  // the same shape
  std::ptrdiff_t out_stride = 0;
  const std::byte* const* blocks = nullptr;  // this layer's blocks of this sequence, in order of position
  int first_position = 0;  // absolute position of token 0 of q; token t sees positions <= first_position + t
  int n_tokens = 0;
};

/// Floats of one query head's partial result over a segment: maximum, sum, and head_dim weighted values.
inline constexpr int attention_partial_floats(int head_dim) noexcept { return (2 + head_dim + 15) / 16 * 16; }

// ---- attention with queries as lanes ----

/// Queries that share each instruction.
inline constexpr int query_lanes = 16;
/// Positions that a query's running softmax takes in at once, at absolute positions.
inline constexpr int lane_tile_positions = 128;

/// 16 queries that meet the same keys and values: the heads of a token, or the tokens of a head. An unused lane has a
/// zero query and sees what its neighbours see.
struct LaneQueries {
  int key_dim = 0, value_dim = 0;
  const float* q = nullptr;      // (key_dim, 16), scaled
  const int* visible = nullptr;  // (16): positions that a lane sees, counted from position 0
  float* state = nullptr;        // (2 + value_dim, 16): maximum, sum, weighted values so far
};

/// Keys and values of neighbouring positions, one tile at most.
struct LaneRows {
  const float* keys = nullptr;  // (n_rows, key_dim), rows key_stride floats apart
  std::ptrdiff_t key_stride = 0;
  const float* values = nullptr;  // (n_rows, value_dim)
  std::ptrdiff_t value_stride = 0;
  int first_position = 0;  // a multiple of lane_tile_positions
  int n_rows = 0;
};

/// Queries, keys and values rounded to BF16, in an order that the kernel table's instruction set decides: opaque, made
/// by round_queries() and so on, and 64-byte aligned.
struct RoundedQueries {
  int key_dim = 0, value_dim = 0;
  const std::byte* q = nullptr;
  const int* visible = nullptr;  // as in LaneQueries
  float* state = nullptr;        // the same
};
struct RoundedRows {
  const std::byte* keys = nullptr;
  const std::byte* values = nullptr;
  int first_position = 0;  // a multiple of lane_tile_positions
  int n_rows = 0;
};

/// Room for 16 queries, and for a tile of keys and of values.
inline constexpr int rounded_query_floats(int key_dim) noexcept { return (key_dim + 1) / 2 * 2 * query_lanes; }
inline constexpr int rounded_key_floats(int key_dim) noexcept {
  return (key_dim + 1) / 2 * 2 * lane_tile_positions + query_lanes;
}
inline constexpr int rounded_value_floats(int value_dim) noexcept {
  return value_dim * lane_tile_positions + 2 * query_lanes;
}

inline constexpr int lane_state_floats(int value_dim) noexcept { return (2 + value_dim) * query_lanes; }

// ---- the table ----

struct KernelTable {
  Isa isa;

  /// Tokens [first, last) of x (n_tokens, n_columns), rows x_stride floats apart, into `activations`
  /// (activation_bytes() of n_tokens). A block of columns with a NaN or an infinity becomes NaN.
  void (*quantize)(ActivationType type, const float* x, std::ptrdiff_t x_stride, int n_tokens, int n_columns, int first,
                   int last, std::byte* activations) noexcept;
  /// out[t][32 * p ...] = W x_t for the panels p in [first_panel, last_panel); rows beyond n_rows are not written. out
  /// rows are out_stride floats apart. `activations` holds n_tokens of activation_type(matrix.dtype).
  void (*matmul)(const PackedMatrix& matrix, const std::byte* activations, int n_tokens, int first_panel,
                 int last_panel, float* out, std::ptrdiff_t out_stride) noexcept;

  /// out = x / sqrt(mean(x^2) + epsilon) * weight, over n. `out` may be `x`.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int n, float* out) noexcept;
  /// x += y.
  void (*add)(float* x, const float* y, int n) noexcept;
  /// x += factor * y, rounded once.
  void (*add_scaled)(float* x, const float* y, float factor, int n) noexcept;
  /// out = silu(gate) * up. `out` may be `gate`.
  void (*swiglu)(const float* gate, const float* up, int n, float* out) noexcept;
  /// Rotates the first rope_dim values of one head in place; cos and sin have rope_dim / 2 values. Interleaved pairs
  /// are (2i, 2i + 1), otherwise (i, i + rope_dim / 2).
  void (*rope)(float* head, const float* cos, const float* sin, int rope_dim, bool interleaved) noexcept;

  /// Rounds one token's k and v (n_kv_heads, head_dim) to the cache type at place `slot` of a block.
  void (*store_kv)(const KvShape& shape, const float* k, const float* v, std::byte* block, int slot) noexcept;
  /// Attention of query tokens [first, last), all heads of the group of `kv_head`, over the positions of segment
  /// `segment` only. Writes (last - first, heads of the group) partials. Tokens that see nothing of the segment get the
  /// neutral partial (-inf, 0, 0).
  void (*attend_segment)(const AttentionArgs& args, int kv_head, int first, int last, int segment,
                         float* partials) noexcept;
  /// Combines the partials of segments 0 .. n_segments - 1 in order and writes the outputs of those tokens and heads.
  /// Partials of segment s start at partials + s * segment_stride.
  void (*attend_combine)(const AttentionArgs& args, int kv_head, int first, int last, int n_segments,
                         const float* partials, std::ptrdiff_t segment_stride) noexcept;

  /// The state of lanes that have seen nothing.
  void (*lanes_begin)(int value_dim, float* state) noexcept;
  /// Takes a tile of positions into the lanes' states. What a lane does not see changes no bit of it.
  void (*lanes_fold)(const LaneQueries& queries, const LaneRows& rows) noexcept;
  /// Takes the state of later positions into `state`.
  void (*lanes_merge)(int value_dim, const float* later, float* state) noexcept;
  /// Divides the values by the sums.
  void (*lanes_finish)(int value_dim, float* state) noexcept;
  /// q (key_dim, 16), scaled, to 16 rounded queries. `out` may be `q`.
  void (*round_queries)(int key_dim, const float* q, std::byte* out) noexcept;
  /// Keys (n_rows, key_dim) and values (n_rows, value_dim), rows stride floats apart, of one tile.
  void (*round_keys)(const float* keys, std::ptrdiff_t stride, int n_rows, int key_dim, std::byte* out) noexcept;
  void (*round_values)(const float* values, std::ptrdiff_t stride, int n_rows, int value_dim, std::byte* out) noexcept;
  /// lanes_fold() on rounded numbers, with rounded probabilities.
  void (*lanes_fold_rounded)(const RoundedQueries& queries, const RoundedRows& rows) noexcept;
  /// A row of n floats rounded to the cache's type, and rows of n read back; rows lie one behind the other.
  void (*round_kv)(KvType type, const float* x, int n, std::byte* out) noexcept;
  void (*widen_kv)(KvType type, const std::byte* x, int n_rows, int n, float* out) noexcept;

  /// The index of the largest value, the lowest on a tie; NaN never wins. n >= 1; 0 when all are NaN.
  int (*argmax)(const float* x, int n) noexcept;
  /// log(sum(exp(x))), in a fixed order. n >= 1; NaN when a value is NaN, -inf when all are -inf.
  float (*log_sum_exp)(const float* x, int n) noexcept;

  /// Loops that do one thing only, for limits.h: reading memory, int8 products, f32 fma. The last two return how many
  /// multiplications and additions they did.
  std::int32_t (*probe_read)(const std::byte* data, std::size_t bytes) noexcept;
  std::int64_t (*probe_int8)(int turns) noexcept;
  std::int64_t (*probe_float)(int turns) noexcept;
};

}  // namespace moebox

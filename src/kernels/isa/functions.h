// Declares the kernels of one instruction set in the namespace MOEBOX_SIMD. It has no include guard: the dispatcher
// includes it once for each instruction set; the others get MOEBOX_SIMD from the layer that they are compiled against.
#ifndef MOEBOX_SIMD
#include "kernels/simd/simd.h"
#endif

#include "kernels/kernel_table.h"

namespace moebox::MOEBOX_SIMD {

void quantize(ActivationType type, const float* x, std::ptrdiff_t x_stride, int n_tokens, int n_columns, int first,
              int last, std::byte* activations) noexcept;
void matmul(const PackedMatrix& matrix, const std::byte* activations, int n_tokens, int first_panel, int last_panel,
            float* out, std::ptrdiff_t out_stride) noexcept;
void rms_norm(const float* x, const float* weight, float epsilon, int n, float* out) noexcept;
void add_to(float* x, const float* y, int n) noexcept;
void add_scaled(float* x, const float* y, float factor, int n) noexcept;
void swiglu(const float* gate, const float* up, int n, float* out) noexcept;
void rope(float* head, const float* cos, const float* sin, int rope_dim, bool interleaved) noexcept;
void store_kv(const KvShape& shape, const float* k, const float* v, std::byte* block, int slot) noexcept;
void attend_segment(const AttentionArgs& args, int kv_head, int first, int last, int segment, float* partials) noexcept;
void attend_combine(const AttentionArgs& args, int kv_head, int first, int last, int n_segments, const float* partials,
                    std::ptrdiff_t segment_stride) noexcept;
void lanes_begin(int value_dim, float* state) noexcept;
void lanes_fold(const LaneQueries& queries, const LaneRows& rows) noexcept;
void lanes_merge(int value_dim, const float* later, float* state) noexcept;
void lanes_finish(int value_dim, float* state) noexcept;
void round_queries(int key_dim, const float* q, std::byte* out) noexcept;
void round_keys(const float* keys, std::ptrdiff_t stride, int n_rows, int key_dim, std::byte* out) noexcept;
void round_values(const float* values, std::ptrdiff_t stride, int n_rows, int value_dim, std::byte* out) noexcept;
void lanes_fold_rounded(const RoundedQueries& queries, const RoundedRows& rows) noexcept;
void round_kv(KvType type, const float* x, int n, std::byte* out) noexcept;
void widen_kv(KvType type, const std::byte* x, int n_rows, int n, float* out) noexcept;
int argmax(const float* x, int n) noexcept;
float log_sum_exp(const float* x, int n) noexcept;

std::int32_t probe_read(const std::byte* data, std::size_t bytes) noexcept;
std::int64_t probe_int8(int turns) noexcept;
std::int64_t probe_float(int turns) noexcept;

}  // namespace moebox::MOEBOX_SIMD

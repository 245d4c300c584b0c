// Linear layers: out = W x for a range of panels. Compiled once for each instruction set.
#include "kernels/isa/functions.h"
#include "kernels/isa/matmul_float.h"
#include "kernels/isa/matmul_int8.h"

namespace moebox::MOEBOX_SIMD {
namespace {

struct Work {
  const PackedMatrix& matrix;
  const std::byte* activations;
  int n_tokens, first_panel, last_panel;
  float* out;
  std::ptrdiff_t out_stride;
};

/// Calls panel(unit, block of tokens, its first token, output) for every panel of every block of tokens.
template <class Panel>
MOEBOX_OP void for_each_panel(const Work& work, ActivationType type, Panel&& panel) {
  const std::byte* base = work.activations;
  const int n_columns = work.matrix.n_columns;
  for (int first = 0; first < work.n_tokens; first += activation_block_tokens) {
    const int rest = work.n_tokens - first, m = rest < activation_block_tokens ? rest : activation_block_tokens;
    for (int p = work.first_panel; p < work.last_panel; ++p) {
      const auto* unit =
          reinterpret_cast<Unit>(work.matrix.data + static_cast<std::size_t>(p) * work.matrix.panel_bytes);
      const int rows_left = work.matrix.n_rows - panel_rows * p;
      panel(unit, base, m,
            PanelOutput{work.out + first * work.out_stride + std::ptrdiff_t{panel_rows} * p, work.out_stride,
                        rows_left < panel_rows ? rows_left : panel_rows});
    }
    base += activation_token_block_bytes(type, m, n_columns);
  }
}

template <class F>
void matmul_int8(const Work& work) {
  constexpr bool superblocks = F::columns == 256;
  const int n_columns = work.matrix.n_columns;
  for_each_panel(work, superblocks ? ActivationType::int8_block256 : ActivationType::int8_block32,
                 [&](Unit unit, const std::byte* base, int m, PanelOutput output) {
                   const TokenBlock tokens{reinterpret_cast<const std::int8_t*>(base),
                                           base + activation_records_offset(m, n_columns), m};
                   const int n_blocks = n_columns / F::columns;
                   if constexpr (superblocks) {
                     m == 1 ? one_token256<F>(unit, n_blocks, tokens, output)
                            : many_tokens256<F>(unit, n_blocks, tokens, output);
                   } else {
                     some_tokens32<F>(unit, n_blocks, tokens, output);
                   }
                 });
}

template <class F>
void matmul_float(const Work& work) {
  const int n_columns = work.matrix.n_columns;
  for_each_panel(work, ActivationType::f32, [&](Unit unit, const std::byte* base, int m, PanelOutput output) {
    const auto* x = reinterpret_cast<const float*>(base);
    m == 1 ? one_token_float<F>(unit, n_columns, x, output) : many_tokens_float<F>(unit, n_columns, x, m, output);
  });
}

}  // namespace

void matmul(const PackedMatrix& matrix, const std::byte* activations, int n_tokens, int first_panel, int last_panel,
            float* out, std::ptrdiff_t out_stride) noexcept {
  const Work work{matrix, activations, n_tokens, first_panel, last_panel, out, out_stride};
  switch (static_cast<int>(matrix.dtype)) {
    case F32::ggml_type:
      return matmul_float<F32>(work);
    case F16::ggml_type:
      return matmul_float<F16>(work);
    case BF16::ggml_type:
      return matmul_float<BF16>(work);
    case Q8_0::ggml_type:
      return matmul_int8<Q8_0>(work);
    case Q4_0::ggml_type:
      return matmul_int8<Q4_0>(work);
    case Q4_1::ggml_type:
      return matmul_int8<Q4_1>(work);
    case Q5_0::ggml_type:
      return matmul_int8<Q5_0>(work);
    case Q5_1::ggml_type:
      return matmul_int8<Q5_1>(work);
    case IQ4_NL::ggml_type:
      return matmul_int8<IQ4_NL>(work);
    case MXFP4::ggml_type:
      return matmul_int8<MXFP4>(work);
    case Q2_K::ggml_type:
      return matmul_int8<Q2_K>(work);
    case Q3_K::ggml_type:
      return matmul_int8<Q3_K>(work);
    case Q4_K::ggml_type:
      return matmul_int8<Q4_K>(work);
    case Q5_K::ggml_type:
      return matmul_int8<Q5_K>(work);
    case Q6_K::ggml_type:
      return matmul_int8<Q6_K>(work);
  }
}

}  // namespace moebox::MOEBOX_SIMD

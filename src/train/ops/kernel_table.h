// The inner loops of the operators, one table for each instruction set. They take pieces of work that one worker does;
// the operators (linear.h ...) cut the work and own the memory. None of them allocates, throws or logs.
//
// Every float operation is written out and happens in the same order on every instruction set, so their results are
// equal bit for bit, with one exception: AVX-512's instructions for BF16 take denormal numbers for zero.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "base/float_types.h"

namespace moebox::train_ops {

// ---- products ----

/// What products add up, in 32 bits: a float, or two BF16 of neighbouring indices of the sum where the processor has
/// dot products of such pairs. Elsewhere BF16 numbers are widened, and the two of a pair change places: those dot
/// products add the second first.
using Unit = std::uint32_t;

/// How many rows of a weight gradient are made together.
inline constexpr int transposed_rows = 96;
/// Sums are cut after so many addends: parts begin at 0 and are added in ascending order.
template <class T>
inline constexpr std::int64_t sum_part = sizeof(T) == 4 ? 1024 : 2048;

/// out (rows, columns) = sum over units of left (rows, units) times panel (units, panel_columns).
template <class T>
struct Product {
  const Unit* left;
  std::int64_t left_row, left_unit;  // distances of rows and units, in units
  const Unit* panel;
  int rows, columns;  // columns <= panel_columns
  std::int64_t units;
  std::int64_t out_row;  // distance of rows, in elements
  float* out_f32;        // one of the two; T is float: this one
  T* out;
  bool add;  // to out_f32
};

template <class T>
struct ProductKernels {
  int panel_columns = 0;
  int elements_per_unit = 1;
  /// Sums over k elements have units(k) units.
  std::int64_t units(std::int64_t k) const noexcept {
    if (sizeof(T) == 4) return k;
    return elements_per_unit == 2 ? (k + 1) / 2 : (k + 1) / 2 * 2;
  }
  /// Whether rows of k elements, `stride` apart, can be read as units where they are.
  bool reads_in_place(const T* rows, std::int64_t k, std::int64_t stride) const noexcept {
    if (sizeof(T) == 4) return true;
    return elements_per_unit == 2 && k % 2 == 0 && stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(rows) % 4 == 0;
  }

  void (*multiply)(const Product<T>& product) noexcept = nullptr;
  /// A row of k elements as units(k) units.
  void (*copy_row)(const T* row, std::int64_t k, Unit* units) noexcept = nullptr;
  /// A panel whose column c is row c of `data`: n_columns <= panel_columns rows of k elements. Columns beyond these are
  /// 0 up to a multiple of 16.
  void (*pack_rows)(const T* data, std::int64_t stride, int n_columns, std::int64_t k, Unit* panel) noexcept = nullptr;
  /// A panel (units, width) whose column c is column c of `data` (k, n_columns), n_columns <= width.
  void (*pack_columns)(const T* data, std::int64_t stride, int n_columns, std::int64_t k, int width,
                       Unit* panel) noexcept = nullptr;
};

// ---- row by row ----

/// out = silu(gate) * up, times the row's weight where there are weights.
template <class T>
struct SwigluForward {
  const T *gate, *up;
  std::int64_t in_row;
  const float* weight;  // (rows) or null
  T* out;
  std::int64_t out_row;
  int rows, columns;
};

/// d_gate and d_up, from d_out of the *unweighted* sum's input: with weights, d_out is multiplied by the row's; then
/// `weighted` gets the forward's result again and d_weight the sum of d_out * silu(gate) * up.
template <class T>
struct SwigluBackward {
  const T *d_out, *gate, *up;
  std::int64_t d_out_row, in_row;
  const float* weight;  // (rows) or null, then so are the next two
  T* weighted;          // (rows, columns)
  float* d_weight;      // (rows)
  T *d_gate, *d_up;
  std::int64_t d_in_row;
  int rows, columns;
};

/// y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + epsilon).
template <class X, class Y>
struct NormForward {
  const X* x;
  std::int64_t x_row;
  const float* weight;
  float epsilon;
  Y* y;
  std::int64_t y_row;
  float* rstd;  // (rows)
  std::int64_t rows, columns;
};

/// dx, and d_weight (columns) with the sum over these rows, from 0.
template <class X, class Y>
struct NormBackward {
  const Y* dy;
  std::int64_t dy_row;
  const X* x;
  std::int64_t x_row;
  const float *weight, *rstd;
  X* dx;
  std::int64_t dx_row;
  float* d_weight;
  std::int64_t rows, columns;
};

template <class X, class Y>
struct NormKernels {
  void (*forward)(const NormForward<X, Y>&) noexcept = nullptr;
  void (*backward)(const NormBackward<X, Y>&) noexcept = nullptr;
};

/// A row of logits turns into its gradient, in place and in T: row i of d_logits begins where row i of logits does.
struct CrossEntropyRow {
  float* logits;
  std::int64_t n;
  std::int64_t target;  // negative: the gradient is 0
  float scale, z_loss;
};
struct CrossEntropyResult {
  float loss, log_sum_exp;
};

/// Scores of one tile of keys -> probabilities, with the state of a softmax over all tiles.
template <class T>
struct SoftmaxForward {
  float* scores;  // (rows, scores_row), destroyed
  std::int64_t scores_row;
  const int *first, *last;  // (rows): the columns that a row sees; first >= last: none
  int columns;              // a multiple of 16
  float scale;
  float *maximum, *sum;  // (rows) the state: -infinity and 0 at first
  float* out;            // (rows, out_row): what earlier tiles added, scaled to the new maximum
  std::int64_t out_row;
  int out_columns;
  T* p;  // (rows, columns)
  int rows;
};

template <class T>
struct SoftmaxBackward {
  float* scores;    // (rows, scores_row), destroyed
  const float* dp;  // (rows, scores_row)
  std::int64_t scores_row;
  const int *first, *last;
  int columns;
  float scale;
  const float *log_sum_exp, *delta;  // (rows)
  T *p, *ds;                         // (rows, columns)
  int rows;
};

template <class T>
struct RowKernels {
  void (*swiglu)(const SwigluForward<T>&) noexcept = nullptr;
  void (*swiglu_backward)(const SwigluBackward<T>&) noexcept = nullptr;
  /// out (n) = the sum of so many rows of floats, in their order.
  void (*sum_rows)(const float* data, std::int64_t stride, const std::int32_t* rows, int n_rows, std::int64_t n,
                   T* out) noexcept = nullptr;
  /// The same for n_rows rows in a row, of floats or stored values.
  void (*sum_every)(const float* data, std::int64_t stride, int n_rows, std::int64_t n, T* out) noexcept = nullptr;
  void (*sum_stored)(const T* data, std::int64_t stride, int n_rows, std::int64_t n, T* out) noexcept = nullptr;
  /// The first 2 * half values of a head, rotated; backward: by minus the angles. in == out is allowed.
  void (*rope)(const T* in, const float* cos, const float* sin, int half, bool interleaved, bool backward,
               T* out) noexcept = nullptr;
  CrossEntropyResult (*cross_entropy)(const CrossEntropyRow&) noexcept = nullptr;
  void (*softmax)(const SoftmaxForward<T>&) noexcept = nullptr;
  void (*softmax_backward)(const SoftmaxBackward<T>&) noexcept = nullptr;
  /// The end of a softmax: out = in / sum, in T.
  void (*scale_row)(const float* in, float factor, std::int64_t n, T* out) noexcept = nullptr;
  float (*dot)(const T* a, const T* b, std::int64_t n) noexcept = nullptr;
};

// ---- the optimiser ----

/// optimiser.h says what happens; all factors are computed there, in double.
struct AdamWStep {
  float *weights, *gradients, *m, *v;
  BFloat16* copy;  // or null
  std::int64_t n;
  float beta1, rest1, beta2, rest2, epsilon, gradient_scale;
  float keep, step, root;  // 1 - lr * decay; lr / (1 - beta1^step); 1 / sqrt(1 - beta2^step)
  bool zero_gradients;
};

struct KernelTable {
  Isa isa = Isa::scalar;
  ProductKernels<float> product_f32;
  ProductKernels<BFloat16> product_bf16;
  RowKernels<float> rows_f32;
  RowKernels<BFloat16> rows_bf16;
  NormKernels<float, float> norm_f32;
  NormKernels<float, BFloat16> norm_f32_bf16;
  NormKernels<BFloat16, BFloat16> norm_bf16;
  void (*adamw)(const AdamWStep&) noexcept = nullptr;
  double (*sum_squares)(const float* x, std::int64_t n) noexcept = nullptr;
  /// out += x.
  void (*add)(float* out, const float* x, std::int64_t n) noexcept = nullptr;
  /// Floating-point operations done in registers, for the machine's limit.
  std::int64_t (*probe_f32)(int turns) noexcept = nullptr;
  std::int64_t (*probe_bf16)(int turns) noexcept = nullptr;

  template <class T>
  const ProductKernels<T>& product() const noexcept {
    if constexpr (sizeof(T) == 4)
      return product_f32;
    else
      return product_bf16;
  }
  template <class T>
  const RowKernels<T>& rows() const noexcept {
    if constexpr (sizeof(T) == 4)
      return rows_f32;
    else
      return rows_bf16;
  }
  template <class X, class Y>
  const NormKernels<X, Y>& norm() const noexcept {
    if constexpr (sizeof(Y) == 4)
      return norm_f32;
    else if constexpr (sizeof(X) == 4)
      return norm_f32_bf16;
    else
      return norm_bf16;
  }
};

/// The best that this processor has, or what MOEBOX_ISA names. Throws Error(invalid_argument) for another name.
const KernelTable& kernel_table();
/// Throws Error(unsupported) when this program or this processor lacks it.
const KernelTable& kernel_table(Isa isa);
/// All that can run here, worst first.
std::span<const Isa> available_isas() noexcept;

}  // namespace moebox::train_ops

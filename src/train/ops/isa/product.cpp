// Matrix products: what is multiplied becomes units, the right operand in panels of columns that lie side by side; a
// tile of the result stays in registers while a sum runs. Every element has one accumulator that walks the units in
// ascending order, whatever tile it is in.
#include "train/ops/isa/values.h"

namespace moebox::train_ops::MOEBOX_SIMD {
namespace {

#if defined(MOEBOX_COMPILE_AVX512_BF16)
constexpr bool has_pairs = true;
#else
constexpr bool has_pairs = false;
#endif

#if defined(MOEBOX_COMPILE_AVX512) || defined(MOEBOX_COMPILE_AVX512_BF16)
constexpr int tile_rows = 6, tile_vectors = 4;  // 24 sums, 4 of the panel, 1 of the left: of 32 registers
#elif defined(MOEBOX_COMPILE_AVX2) || defined(MOEBOX_COMPILE_NEON) || defined(MOEBOX_COMPILE_NEON_DOTPROD)
constexpr int tile_rows = 6, tile_vectors = 1;  // a logical register is 2 of AVX2's 16, or 4 of NEON's 32
#else
constexpr int tile_rows = 2, tile_vectors = 1;
#endif
constexpr int panel_columns = 16 * tile_vectors;

template <class T>
constexpr bool paired = has_pairs && sizeof(T) == 2;
template <class T>
constexpr bool widened = !has_pairs && sizeof(T) == 2;

template <class T>
MOEBOX_OP Floats multiply_add(Ints a, Ints b, Floats sum) {
#if defined(MOEBOX_COMPILE_AVX512_BF16)
  if constexpr (paired<T>) return {_mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v)};
#endif
  return fma(from_bits(a), from_bits(b), sum);
}

template <class T>
MOEBOX_OP void write_tile_row(const Product<T>& p, std::int64_t at, Floats sum, int n) {
  if (p.out_f32 != nullptr) {
    float* out = p.out_f32 + at;
    if (n == 16)
      store(out, p.add ? add(load(out), sum) : sum);
    else
      store_first(out, p.add ? add(load_first(out, n), sum) : sum, n);
  } else if (n == 16) {
    write(p.out + at, sum);
  } else {
    write_first(p.out + at, sum, n);
  }
}

template <class T, int n_rows, int n_vectors>
void tile(const Product<T>& p, int first_row) {
  Floats sum[n_rows][n_vectors];
  MOEBOX_UNROLL
  for (int i = 0; i < n_rows; ++i) {
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) sum[i][j] = splat(0);
  }
  const std::int64_t left_row = p.left_row, left_unit = p.left_unit;
  const Unit* left = p.left + first_row * left_row;
  const Unit* panel = p.panel;
  for (std::int64_t k = p.units; k > 0; --k, left += left_unit, panel += panel_columns) {
    Ints b[n_vectors];
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) b[j] = load_ints(panel + 16 * j);
    MOEBOX_UNROLL
    for (int i = 0; i < n_rows; ++i) {
      const Ints a = splat_int(static_cast<std::int32_t>(left[i * left_row]));
      MOEBOX_UNROLL
      for (int j = 0; j < n_vectors; ++j) sum[i][j] = multiply_add<T>(a, b[j], sum[i][j]);
    }
  }
  const int last = p.columns - 16 * (n_vectors - 1);
  MOEBOX_UNROLL
  for (int i = 0; i < n_rows; ++i) {
    const std::int64_t at = (first_row + i) * p.out_row;
    MOEBOX_UNROLL
    for (int j = 0; j < n_vectors; ++j) write_tile_row(p, at + 16 * j, sum[i][j], j + 1 < n_vectors ? 16 : last);
  }
}

template <class T, int n_rows, int n_vectors>
void remaining_rows(const Product<T>& p, int first_row) {
  if constexpr (n_rows > 0) {
    if (p.rows - first_row == n_rows) return tile<T, n_rows, n_vectors>(p, first_row);
    remaining_rows<T, n_rows - 1, n_vectors>(p, first_row);
  }
}

template <class T, int n_vectors>
void multiply_vectors(const Product<T>& p, int wanted) {
  if constexpr (n_vectors > 1) {
    if (wanted < n_vectors) return multiply_vectors<T, n_vectors - 1>(p, wanted);
  }
  int row = 0;
  for (; row + tile_rows <= p.rows; row += tile_rows) tile<T, tile_rows, n_vectors>(p, row);
  remaining_rows<T, tile_rows - 1, n_vectors>(p, row);
}

template <class T>
void multiply(const Product<T>& p) noexcept {
  multiply_vectors<T, tile_vectors>(p, (p.columns + 15) / 16);
}

// ---- packing ----

/// Where the element k of a sum stands among its units.
template <class T>
MOEBOX_OP std::int64_t place(std::int64_t k) {
  return widened<T> ? (k ^ 1) : k;
}

/// 16 units of a row from the unit `first` on (of a widened one in the order of its elements); 0 beyond its k elements.
template <class T>
MOEBOX_OP Floats load_units(const T* row, std::int64_t first, std::int64_t k) {
  if constexpr (!paired<T>) {
    const std::int64_t rest = k - first;
    return rest >= 16 ? read(row + first) : read_first(row + first, rest > 0 ? static_cast<int>(rest) : 0);
  } else {
    const std::int64_t rest = k - 2 * first;
    if (rest >= 32) return from_bits(load_ints(row + 2 * first));
    BFloat16 values[32] = {};
    for (std::int64_t i = 0; i < rest; ++i) values[i] = row[2 * first + i];
    return from_bits(load_ints(values));
  }
}

/// (16, 16) transposed: each turn moves one bit of the row's number to the lane's.
MOEBOX_OP void transpose(Floats (&r)[16]) {
  MOEBOX_UNROLL
  for (int turn = 0; turn < 4; ++turn) {
    Floats next[16];
    MOEBOX_UNROLL
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = r[i];
      next[2 * i + 1] = r[i + 8];
      interleave(next[2 * i], next[2 * i + 1]);
    }
    MOEBOX_UNROLL
    for (int i = 0; i < 16; ++i) r[i] = next[i];
  }
}

template <class T>
std::int64_t units_of(std::int64_t k) {
  return sizeof(T) == 4 ? k : paired<T> ? (k + 1) / 2 : (k + 1) / 2 * 2;
}

template <class T>
void pack_rows(const T* data, std::int64_t stride, int n_columns, std::int64_t k, Unit* panel) noexcept {
  const std::int64_t units = units_of<T>(k);
  for (int c = 0; c < n_columns; c += 16) {
    const int columns = n_columns - c < 16 ? n_columns - c : 16;
    for (std::int64_t first = 0; first < units; first += 16) {
      Floats r[16];
      if (columns == 16) {
        MOEBOX_UNROLL
        for (int i = 0; i < 16; ++i) r[i] = load_units(data + (c + i) * stride, first, k);
      } else {
        for (int i = 0; i < 16; ++i) r[i] = i < columns ? load_units(data + (c + i) * stride, first, k) : splat(0);
      }
      transpose(r);
      Unit* out = panel + c;
      if (units - first >= 16) {
        MOEBOX_UNROLL
        for (int i = 0; i < 16; ++i) store_ints(out + place<T>(first + i) * panel_columns, bits(r[i]));
      } else {
        for (int i = 0; i < units - first; ++i) store_ints(out + place<T>(first + i) * panel_columns, bits(r[i]));
      }
    }
  }
}

constexpr std::int64_t prefetched_rows = 32;

/// Columns [c, c + n) of a row, 0 beyond these.
template <class T>
MOEBOX_OP Floats load_columns(const T* row, int n) {
  return n >= 16 ? read(row) : read_first(row, n);
}

template <class T>
void pack_columns(const T* data, std::int64_t stride, int n_columns, std::int64_t k, int width, Unit* panel) noexcept {
  // Rows may lie pages apart, where the processor's own prefetchers do not follow.
  const auto ahead = static_cast<std::uintptr_t>(prefetched_rows * stride) * sizeof(T);
  for (std::int64_t row = 0; row < k; row += 2) {
    const T* first = data + row * stride;
    const bool both = row + 1 < k;
    for (int c = 0; c < n_columns; c += 16) {
      const int n = n_columns - c;
      prefetch(first + c, ahead);
      prefetch(first + stride + c, ahead);
      const Floats a = load_columns(first + c, n);
      const Floats b = both ? load_columns(first + stride + c, n) : splat(0);
      if constexpr (paired<T>) {
        store_ints(panel + row / 2 * width + c, bit_or(shift_right_zero<16>(bits(a)), bits(b)));
      } else {
        store_ints(panel + place<T>(row) * width + c, bits(a));
        if (both || widened<T>) store_ints(panel + place<T>(row + 1) * width + c, bits(b));
      }
    }
  }
}

template <class T>
void copy_row(const T* row, std::int64_t k, Unit* units) noexcept {
  const std::int64_t n = units_of<T>(k);
  if constexpr (widened<T>) {
    for (std::int64_t i = 0; i < n; ++i) units[place<T>(i)] = i < k ? static_cast<Unit>(row[i].bits) << 16 : 0;
  } else {
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) store_ints(units + i, bits(load_units(row, i, k)));
    if (i < n) store_first(reinterpret_cast<float*>(units + i), load_units(row, i, k), static_cast<int>(n - i));
  }
}

template <class T>
void add_products(ProductKernels<T>& kernels) {
  kernels.panel_columns = panel_columns;
  kernels.elements_per_unit = paired<T> ? 2 : 1;
  kernels.multiply = multiply<T>;
  kernels.copy_row = copy_row<T>;
  kernels.pack_rows = pack_rows<T>;
  kernels.pack_columns = pack_columns<T>;
}

// ---- what the machine can do at most ----

constexpr int chains = 12;  // hide the latency

template <class T>
std::int64_t probe(int turns) noexcept {
  Floats sum[chains];
  for (int c = 0; c < chains; ++c) sum[c] = splat(static_cast<float>(c));
  Floats a = splat(0.5f), b = splat(0.25f);
  for (int turn = 0; turn < turns; ++turn) {
    forget(a);
    forget(b);
    MOEBOX_UNROLL
    for (int c = 0; c < chains; ++c) sum[c] = multiply_add<T>(bits(a), bits(b), sum[c]);
  }
  for (int c = 1; c < chains; ++c) sum[0] = add(sum[0], sum[c]);
  forget(sum[0]);
  return std::int64_t{turns} * chains * 16 * 2 * (paired<T> ? 2 : 1);
}

}  // namespace

void add_product_kernels(KernelTable& table) noexcept {
  add_products(table.product_f32);
  add_products(table.product_bf16);
  table.probe_f32 = probe<float>;
  table.probe_bf16 = probe<BFloat16>;
}

}  // namespace moebox::train_ops::MOEBOX_SIMD

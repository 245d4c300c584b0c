// How products are cut into tasks, shared by the operators. Weights are packed on the fly: a task packs one panel of
// the right operand and multiplies up to 1,024 rows with it while the panel is in a cache; so nothing is packed that is
// not used at once, and no packed weight stays in memory. The grid of tasks has two dimensions (rows and panels) in
// each group, so that an expert with most of the tokens, or a product with few rows, keeps all workers busy. Sums
// belong to one task each: their order does not depend on the workers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::train_ops {

/// Rows of one group that a task takes together.
struct RowChunk {
  int group;
  std::int64_t first_row;
  int n_rows;
};
inline constexpr std::int64_t chunk_rows = 1024;
/// first_row (n_groups + 1) ascending: group g has the rows [first_row[g], first_row[g + 1]). Chunks are shorter where
/// there would be fewer tasks (chunks times panels) than two for each worker.
std::vector<RowChunk> cut_rows(std::span<const std::int64_t> first_row, std::int64_t n_panels, int n_workers);

/// Rows as units: where they are, or copied.
struct Left {
  const Unit* units;
  std::int64_t row;  // distance of rows
};
template <class T>
Left as_units(Compute& compute, ScratchUse& scratch, Rows<const T> x);

/// The right operand of a product: its column c is row c of `data`, or column c.
template <class T>
struct Right {
  const T* data;
  std::int64_t stride;
  bool columns_are_rows;
};

/// Where a tile of a product goes: rows `stride` apart; one of the two pointers.
template <class T>
struct TileOut {
  float* f32;
  T* rounded;
  std::int64_t stride;
};
template <class T>
TileOut<T> tile_out(T* data, std::int64_t stride) {
  if constexpr (sizeof(T) == 4)
    return {data, nullptr, stride};
  else
    return {nullptr, data, stride};
}

/// A panel and a tile for each worker.
template <class T>
class TileBuffers {
 public:
  /// For sums of at most `longest` elements.
  TileBuffers(Compute& compute, ScratchUse& scratch, std::int64_t longest);

  int panel_columns() const noexcept { return kernels_.panel_columns; }
  std::int64_t n_panels(std::int64_t columns) const noexcept {
    return (columns + panel_columns() - 1) / panel_columns();
  }
  /// Columns of the panel `index` of so many columns.
  int columns_of(std::int64_t index, std::int64_t columns) const noexcept {
    return static_cast<int>(std::min<std::int64_t>(panel_columns(), columns - index * panel_columns()));
  }

  /// out (n_rows, columns) = left (n_rows, k) times the columns of `right` from first_column on; at most chunk_rows
  /// rows, one panel of columns.
  void multiply(int worker, const Unit* left, std::int64_t left_row, int n_rows, Right<T> right,
                std::int64_t first_column, int columns, std::int64_t k, TileOut<T> out) const noexcept;

 private:
  const ProductKernels<T>& kernels_;
  const RowKernels<T>& rows_;
  std::int64_t panel_units_;
  Unit* panels_;    // (workers, panel_units_)
  float* partial_;  // (workers, chunk_rows, panel_columns), or null
};

/// out[g] (n, k) (+)= the rows of group g of left (., n), transposed, times these of right (., k).
template <class T>
struct TransposedProduct {
  Rows<const T> left, right;
  float* out;  // (n_groups, n, k) without gaps
  bool add;
};
template <class T>
void multiply_transposed(Compute& compute, std::span<const std::int64_t> first_row,
                         const TransposedProduct<T>& product);

}  // namespace moebox::train_ops

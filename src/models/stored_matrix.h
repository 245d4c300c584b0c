// A matrix on its way from a checkpoint into packed memory, with what has to happen to its values: FP8 gets its scales
// and becomes BF16, and the absorbed form of latent attention needs transposed copies.
#pragma once

#include <cstddef>

#include "kernels/kernel_table.h"
#include "tensor/tensor_view.h"

namespace moebox {

class ThreadTeam;

/// Of the values that this file computes. Raise it when a bit of them changes: packed weights that were kept in a file
/// are then packed anew.
inline constexpr std::uint32_t conversion_version = 2;

struct StoredMatrix {
  TensorView view;                     // (rows, columns); FP8: rows of a larger matrix, or all of it
  const TensorView* scales = nullptr;  // FP8: a factor for each block of 128 x 128 of the larger matrix
  std::int64_t first_row = 0;          // of `view` in the larger matrix
  bool transposed = false;             // what is packed is (columns, rows)

  std::int64_t n_rows() const noexcept { return transposed ? view.n_columns() : view.n_rows(); }
  std::int64_t n_columns() const noexcept { return transposed ? view.n_rows() : view.n_columns(); }
  /// Whether the stored bytes are packed as they are.
  bool is_plain() const noexcept { return !transposed && view.dtype != DType::f8_e4m3; }
  /// The type in which it is packed: FP8 becomes BF16, as DeepSeek's own conversion does; a transposed block format,
  /// whose blocks would stand upright, becomes Q8_0, or F16 where rows are no whole blocks of that.
  DType packed_dtype() const noexcept;

  /// The rows [first, first + count) of the view.
  StoredMatrix rows(std::int64_t first, std::int64_t count) const;
  StoredMatrix transpose() const {
    StoredMatrix other = *this;
    other.transposed = !transposed;
    return other;
  }

  /// Packs all of it into `panels`, zero so far, in the type and shape of `target`.
  void pack(const PackedMatrix& target, std::byte* panels, ThreadTeam& team) const;

 private:
  /// Writes rows [first, last) of the view, converted to F32, F16 or BF16, into `out`: the whole matrix to be packed,
  /// (n_rows, n_columns).
  void convert_rows(DType to, std::int64_t first, std::int64_t last, std::byte* out) const;
};

}  // namespace moebox

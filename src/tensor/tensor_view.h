// A tensor that lives in somebody else's memory, most often a mapped file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace moebox {

/// Shape with the slowest dimension first, as NumPy and safetensors write it (GGUF's order reversed): a matrix is
/// (rows, columns) and a row is contiguous. `data` is not owned and may be unaligned.
struct TensorView {
  static constexpr int max_rank = 4;

  std::string name;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<std::int64_t, max_rank> shape{};
  std::span<const std::byte> data;

  std::int64_t n_elements() const noexcept {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[static_cast<std::size_t>(i)];
    return n;
  }
  std::int64_t n_columns() const noexcept { return rank == 0 ? 1 : shape[static_cast<std::size_t>(rank - 1)]; }
  std::int64_t n_rows() const noexcept { return n_columns() == 0 ? 0 : n_elements() / n_columns(); }
};

/// "(576, 49152)"
std::string shape_text(const TensorView& tensor);

}  // namespace moebox

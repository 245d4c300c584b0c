// Stored blocks -> float: the plain definition of every block format, one file per format in quant/.
#pragma once

#include <cstddef>

#include "tensor/dtype.h"

namespace moebox {

/// Writes `n_elements` floats from one row of blocks. `n_elements` is a multiple of the type's block_elements; `row`
/// may be unaligned. The values are those of ggml's reference dequantisation, bit for bit.
void dequantize_row(DType dtype, const std::byte* row, float* out, std::size_t n_elements) noexcept;

}  // namespace moebox

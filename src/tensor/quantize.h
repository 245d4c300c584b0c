// Floats -> stored blocks: the opposite of dequantize.h. Each format's search for its scales is in quant/.
#pragma once

#include <cstddef>

#include "tensor/dtype.h"

namespace moebox {

/// Writes `n_elements` floats as one row of blocks. `n_elements` is a multiple of the type's block_elements; values are
/// finite (a NaN or an infinity gives a block without meaning); `row` may be unaligned. The bytes are a function of the
/// values alone. FP8 is not among the types: nothing is written for it.
void quantize_row(DType dtype, const float* values, std::byte* row, std::size_t n_elements) noexcept;

}  // namespace moebox

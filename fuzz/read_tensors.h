// What the fuzz targets of model files do with a file that was accepted: read the tensors' first and last blocks.
#pragma once

#include <array>
#include <cstdlib>
#include <span>

#include "tensor/dequantize.h"
#include "tensor/tensor_view.h"

namespace moebox {

inline void read_tensors(std::span<const TensorView> tensors) {
  for (const TensorView& tensor : tensors) {
    const DTypeInfo& type = info(tensor.dtype);
    const auto block_bytes = static_cast<std::size_t>(type.block_bytes);
    const auto n_blocks = static_cast<std::size_t>(tensor.n_elements() / type.block_elements);
    if (n_blocks == 0 || tensor.data.size() != n_blocks * block_bytes) std::abort();
    std::array<float, 256> values;
    for (const std::size_t block : {std::size_t{0}, n_blocks - 1}) {
      dequantize_row(tensor.dtype, tensor.data.data() + block * block_bytes, values.data(),
                     static_cast<std::size_t>(type.block_elements));
    }
  }
}

}  // namespace moebox

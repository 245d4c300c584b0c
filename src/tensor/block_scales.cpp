#include "tensor/block_scales.h"

#include <algorithm>
#include <cstring>

namespace moebox {

void multiply_by_block_scales(const TensorView& scales, std::int64_t row, std::span<float> values) noexcept {
  const auto n_scales = static_cast<std::size_t>(scales.n_columns());
  const std::byte* stored =
      scales.data.data() + static_cast<std::size_t>(row / scaled_block) * n_scales * sizeof(float);
  constexpr auto width = static_cast<std::size_t>(scaled_block);
  for (std::size_t block = 0; block < n_scales; ++block) {
    float factor;
    std::memcpy(&factor, stored + block * sizeof factor, sizeof factor);
    const std::size_t last = std::min((block + 1) * width, values.size());
    for (std::size_t i = block * width; i < last; ++i) values[i] *= factor;
  }
}

}  // namespace moebox

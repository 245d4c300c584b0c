#include "tensor/quant/q8_0.h"

#include <cmath>

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ8_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.q[i]) * scale;
}

void quantize(const float* x, BlockQ8_0& block) noexcept {
  block.scale = quant::finite_half(std::abs(quant::extreme(x, 32)) / 127.0f);
  const float inverse = quant::inverse_of(to_float(block.scale));
  for (int i = 0; i < 32; i += 4) {
    const quant::Float4 q = quant::assigned(x + i, 0, inverse, -127, 127);
    for (int j = 0; j < 4; ++j) block.q[i + j] = static_cast<std::int8_t>(q[j]);
  }
}

}  // namespace moebox

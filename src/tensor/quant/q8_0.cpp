#include "tensor/quant/q8_0.h"

namespace moebox {

void dequantize(const BlockQ8_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.q[i]) * scale;
}

}  // namespace moebox

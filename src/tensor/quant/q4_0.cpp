#include "tensor/quant/q4_0.h"

namespace moebox {

void dequantize(const BlockQ4_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((block.q[i] & 15) - 8) * scale;
    out[i + 16] = static_cast<float>((block.q[i] >> 4) - 8) * scale;
  }
}

}  // namespace moebox

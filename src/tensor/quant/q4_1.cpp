#include "tensor/quant/q4_1.h"

namespace moebox {

void dequantize(const BlockQ4_1& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(block.q[i] & 15) * scale + min;
    out[i + 16] = static_cast<float>(block.q[i] >> 4) * scale + min;
  }
}

}  // namespace moebox

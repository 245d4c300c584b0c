#include "tensor/quant/q5_0.h"

namespace moebox {

void dequantize(const BlockQ5_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const auto high = [&](int i) { return ((block.high[i / 8] >> (i % 8)) & 1) << 4; };
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(((block.q[i] & 15) | high(i)) - 16) * scale;
    out[i + 16] = static_cast<float>(((block.q[i] >> 4) | high(i + 16)) - 16) * scale;
  }
}

}  // namespace moebox

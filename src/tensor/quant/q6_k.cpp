#include "tensor/quant/q6_k.h"

namespace moebox {

void dequantize(const BlockQ6_K& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(block.scales[group]);
    const int half = group / 8;
    const int quarter = group % 8 / 2;  // of 32 values, in this half
    const int column = 16 * (group % 2);
    const std::uint8_t* low = block.low + 64 * half + 32 * (quarter % 2) + column;
    const std::uint8_t* high = block.high + 32 * half + column;
    for (int i = 0; i < 16; ++i) {
      const int q = ((low[i] >> (4 * (quarter / 2))) & 15) | ((high[i] >> (2 * quarter)) & 3) << 4;
      out[16 * group + i] = group_scale * static_cast<float>(q - 32);
    }
  }
}

}  // namespace moebox

#include "tensor/quant/q3_k.h"

namespace moebox {

void group_scales(const BlockQ3_K& block, std::int8_t scales[16]) noexcept {
  // Low nibbles in bytes 0 .. 7 (scales 0 .. 7 low, 8 .. 15 high), high two bits in bytes 8 .. 11 (four scales a byte).
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? block.scales[i] & 15 : block.scales[i - 8] >> 4;
    const int high = (block.scales[8 + i % 4] >> (2 * (i / 4))) & 3;
    scales[i] = static_cast<std::int8_t>((low | high << 4) - 32);
  }
}

void dequantize(const BlockQ3_K& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  std::int8_t scales[16];
  group_scales(block, scales);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(scales[group]);
    const int half = group / 8;
    const int shift = group % 8 / 2 * 2;
    const int column = 16 * (group % 2);
    for (int i = 0; i < 16; ++i) {
      const int low = (block.q[32 * half + column + i] >> shift) & 3;
      const int high = (block.high[column + i] >> (group / 2)) & 1;
      out[16 * group + i] = group_scale * static_cast<float>((low | high << 2) - 4);
    }
  }
}

}  // namespace moebox

#include "tensor/quant/q3_k.h"

#include <algorithm>

#include "tensor/quant/search.h"

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

void quantize(const float* x, BlockQ3_K& block) noexcept {
  const quant::SymmetricGroups groups = quant::symmetric_groups(x, -4, 3, -32, 31);
  block.scale = groups.scale;
  std::fill_n(block.scales, 12, std::uint8_t{0});
  for (int g = 0; g < 16; ++g) {
    const int scale = groups.scales[g] + 32;
    block.scales[g % 8] |= static_cast<std::uint8_t>((scale & 15) << (g < 8 ? 0 : 4));
    block.scales[8 + g % 4] |= static_cast<std::uint8_t>(scale >> 4 << (2 * (g / 4)));
  }
  for (int i = 0; i < 64; ++i) {
    const std::uint8_t* q = groups.q + 128 * (i / 32) + i % 32;
    block.q[i] = static_cast<std::uint8_t>((q[0] & 3) | (q[32] & 3) << 2 | (q[64] & 3) << 4 | (q[96] & 3) << 6);
  }
  std::fill_n(block.high, 32, std::uint8_t{0});
  for (int i = 0; i < 256; ++i) block.high[i % 32] |= static_cast<std::uint8_t>(groups.q[i] >> 2 << (i / 32));
}

}  // namespace moebox

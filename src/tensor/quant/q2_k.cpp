#include "tensor/quant/q2_k.h"

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ2_K& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  for (int group = 0; group < 16; ++group) {
    const float group_scale = scale * static_cast<float>(block.scales[group] & 15);
    const float group_min = min * static_cast<float>(block.scales[group] >> 4);
    const int half = group / 8;
    const int shift = group % 8 / 2 * 2;
    const std::uint8_t* q = block.q + 32 * half + 16 * (group % 2);
    for (int i = 0; i < 16; ++i)
      out[16 * group + i] = group_scale * static_cast<float>((q[i] >> shift) & 3) - group_min;
  }
}

void quantize(const float* x, BlockQ2_K& block) noexcept {
  const quant::AffineGroups<16> groups = quant::affine_groups<16>(x, 3, 15);
  block.scale = groups.scale;
  block.min = groups.min;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::uint8_t>(groups.scales[g] | groups.minima[g] << 4);
  for (int i = 0; i < 64; ++i) {
    const std::uint8_t* q = groups.q + 128 * (i / 32) + i % 32;
    block.q[i] = static_cast<std::uint8_t>(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
  }
}

}  // namespace moebox

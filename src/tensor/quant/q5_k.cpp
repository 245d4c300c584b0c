#include "tensor/quant/q5_k.h"

#include <algorithm>

#include "tensor/quant/q4_k.h"
#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ5_K& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  std::uint8_t scales[8], minima[8];
  unpack_scales_and_minima(block.scales, scales, minima);
  for (int group = 0; group < 8; ++group) {
    const float group_scale = scale * static_cast<float>(scales[group]);
    const float group_min = min * static_cast<float>(minima[group]);
    const std::uint8_t* q = block.q + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int i = 0; i < 32; ++i) {
      const int high = (block.high[i] >> group) & 1;
      out[32 * group + i] = group_scale * static_cast<float>(((q[i] >> shift) & 15) | high << 4) - group_min;
    }
  }
}

void quantize(const float* x, BlockQ5_K& block) noexcept {
  const quant::AffineGroups<32> groups = quant::affine_groups<32>(x, 31, 63);
  block.scale = groups.scale;
  block.min = groups.min;
  pack_scales_and_minima(groups.scales, groups.minima, block.scales);
  std::fill_n(block.high, 32, std::uint8_t{0});
  for (int i = 0; i < 256; ++i) block.high[i % 32] |= static_cast<std::uint8_t>(groups.q[i] >> 4 << (i / 32));
  for (int i = 0; i < 128; ++i) {
    const std::uint8_t* q = groups.q + 64 * (i / 32) + i % 32;
    block.q[i] = static_cast<std::uint8_t>((q[0] & 15) | (q[32] & 15) << 4);
  }
}

}  // namespace moebox

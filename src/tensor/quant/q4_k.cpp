#include "tensor/quant/q4_k.h"

#include "tensor/quant/search.h"

namespace moebox {

void unpack_scales_and_minima(const std::uint8_t packed[12], std::uint8_t scales[8], std::uint8_t minima[8]) noexcept {
  // Groups 0 .. 3: six low bits of bytes 0 .. 3 (scales) and 4 .. 7 (minima). Groups 4 .. 7: low four bits in bytes 8
  // .. 11 (scale in the low nibble, minimum in the high one), high two bits in the top of bytes 0 .. 3 and 4 .. 7.
  for (int i = 0; i < 4; ++i) {
    scales[i] = packed[i] & 63;
    minima[i] = packed[4 + i] & 63;
    scales[4 + i] = static_cast<std::uint8_t>((packed[8 + i] & 15) | (packed[i] >> 6 << 4));
    minima[4 + i] = static_cast<std::uint8_t>((packed[8 + i] >> 4) | (packed[4 + i] >> 6 << 4));
  }
}

void dequantize(const BlockQ4_K& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  std::uint8_t scales[8], minima[8];
  unpack_scales_and_minima(block.scales, scales, minima);
  for (int group = 0; group < 8; ++group) {
    const float group_scale = scale * static_cast<float>(scales[group]);
    const float group_min = min * static_cast<float>(minima[group]);
    const std::uint8_t* q = block.q + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int i = 0; i < 32; ++i)
      out[32 * group + i] = group_scale * static_cast<float>((q[i] >> shift) & 15) - group_min;
  }
}

void pack_scales_and_minima(const std::uint8_t scales[8], const std::uint8_t minima[8],
                            std::uint8_t packed[12]) noexcept {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<std::uint8_t>(scales[i] | scales[4 + i] >> 4 << 6);
    packed[4 + i] = static_cast<std::uint8_t>(minima[i] | minima[4 + i] >> 4 << 6);
    packed[8 + i] = static_cast<std::uint8_t>((scales[4 + i] & 15) | (minima[4 + i] & 15) << 4);
  }
}

void quantize(const float* x, BlockQ4_K& block) noexcept {
  const quant::AffineGroups<32> groups = quant::affine_groups<32>(x, 15, 63);
  block.scale = groups.scale;
  block.min = groups.min;
  pack_scales_and_minima(groups.scales, groups.minima, block.scales);
  for (int i = 0; i < 128; ++i) {
    const std::uint8_t* q = groups.q + 64 * (i / 32) + i % 32;
    block.q[i] = static_cast<std::uint8_t>(q[0] | q[32] << 4);
  }
}

}  // namespace moebox

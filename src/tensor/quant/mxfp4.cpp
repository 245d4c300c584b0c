#include "tensor/quant/mxfp4.h"

#include <bit>

namespace moebox {

const std::int8_t mxfp4_table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float mxfp4_half_scale(std::uint8_t exponent) noexcept {
  if (exponent < 2) return std::bit_cast<float>(std::uint32_t{0x00200000} << exponent);
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent - 1) << 23);
}

void dequantize(const BlockMXFP4& block, float* out) noexcept {
  const float scale = mxfp4_half_scale(block.exponent);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(mxfp4_table[block.q[i] & 15]) * scale;
    out[i + 16] = static_cast<float>(mxfp4_table[block.q[i] >> 4]) * scale;
  }
}

}  // namespace moebox

#include "tensor/quant/q6_k.h"

#include <algorithm>

#include "tensor/quant/search.h"

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

void quantize(const float* x, BlockQ6_K& block) noexcept {
  const quant::SymmetricGroups groups = quant::symmetric_groups(x, -32, 31, -128, 127);
  block.scale = groups.scale;
  std::copy_n(groups.scales, 16, block.scales);
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* q = groups.q + 128 * half;
    for (int i = 0; i < 64; ++i)
      block.low[64 * half + i] = static_cast<std::uint8_t>((q[i] & 15) | (q[i + 64] & 15) << 4);
    for (int i = 0; i < 32; ++i)
      block.high[32 * half + i] =
          static_cast<std::uint8_t>(q[i] >> 4 | q[i + 32] >> 4 << 2 | q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6);
  }
}

}  // namespace moebox

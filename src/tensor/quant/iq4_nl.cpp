#include "tensor/quant/iq4_nl.h"

namespace moebox {

const std::int8_t iq4_nl_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void dequantize(const BlockIQ4_NL& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(iq4_nl_table[block.q[i] & 15]);
    out[i + 16] = scale * static_cast<float>(iq4_nl_table[block.q[i] >> 4]);
  }
}

}  // namespace moebox

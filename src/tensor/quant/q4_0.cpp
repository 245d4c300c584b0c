#include "tensor/quant/q4_0.h"

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ4_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((block.q[i] & 15) - 8) * scale;
    out[i + 16] = static_cast<float>((block.q[i] >> 4) - 8) * scale;
  }
}

void quantize(const float* x, BlockQ4_0& block) noexcept {
  block.scale = quant::finite_half(quant::symmetric_scale<32>(x, -8, 7));
  const float inverse = quant::inverse_of(to_float(block.scale));
  std::uint8_t q[32];
  for (int i = 0; i < 32; i += 4) quant::write_integers(quant::assigned(x + i, 0, inverse, -8, 7), 8, q + i);
  for (int i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>(q[i] | q[i + 16] << 4);
}

}  // namespace moebox

#include "tensor/quant/q4_1.h"

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ4_1& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(block.q[i] & 15) * scale + min;
    out[i + 16] = static_cast<float>(block.q[i] >> 4) * scale + min;
  }
}

void quantize(const float* x, BlockQ4_1& block) noexcept {
  const quant::AffineFit fit = quant::affine_scale<32>(x, 15, false);
  block.scale = quant::finite_half(fit.scale);
  block.min = quant::finite_half(fit.min);
  const float inverse = quant::inverse_of(to_float(block.scale)), min = to_float(block.min);
  std::uint8_t q[32];
  for (int i = 0; i < 32; i += 4) quant::write_integers(quant::assigned(x + i, min, inverse, 0, 15), 0, q + i);
  for (int i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>(q[i] | q[i + 16] << 4);
}

}  // namespace moebox

#include "tensor/quant/q5_1.h"

#include <algorithm>

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ5_1& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  const auto high = [&](int i) { return ((block.high[i / 8] >> (i % 8)) & 1) << 4; };
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((block.q[i] & 15) | high(i)) * scale + min;
    out[i + 16] = static_cast<float>((block.q[i] >> 4) | high(i + 16)) * scale + min;
  }
}

void quantize(const float* x, BlockQ5_1& block) noexcept {
  const quant::AffineFit fit = quant::affine_scale<32>(x, 31, false);
  block.scale = quant::finite_half(fit.scale);
  block.min = quant::finite_half(fit.min);
  const float inverse = quant::inverse_of(to_float(block.scale)), min = to_float(block.min);
  std::uint8_t q[32];
  for (int i = 0; i < 32; i += 4) quant::write_integers(quant::assigned(x + i, min, inverse, 0, 31), 0, q + i);
  std::fill_n(block.high, 4, std::uint8_t{0});
  for (int i = 0; i < 32; ++i) block.high[i / 8] |= static_cast<std::uint8_t>(q[i] >> 4 << (i % 8));
  for (int i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

}  // namespace moebox

#include "tensor/quant/q5_0.h"

#include <algorithm>

#include "tensor/quant/search.h"

namespace moebox {

void dequantize(const BlockQ5_0& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  const auto high = [&](int i) { return ((block.high[i / 8] >> (i % 8)) & 1) << 4; };
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(((block.q[i] & 15) | high(i)) - 16) * scale;
    out[i + 16] = static_cast<float>(((block.q[i] >> 4) | high(i + 16)) - 16) * scale;
  }
}

void quantize(const float* x, BlockQ5_0& block) noexcept {
  block.scale = quant::finite_half(quant::symmetric_scale<32>(x, -16, 15));
  const float inverse = quant::inverse_of(to_float(block.scale));
  std::uint8_t q[32];
  for (int i = 0; i < 32; i += 4) quant::write_integers(quant::assigned(x + i, 0, inverse, -16, 15), 16, q + i);
  std::fill_n(block.high, 4, std::uint8_t{0});
  for (int i = 0; i < 32; ++i) block.high[i / 8] |= static_cast<std::uint8_t>(q[i] >> 4 << (i % 8));
  for (int i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

}  // namespace moebox

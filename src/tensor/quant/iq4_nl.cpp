#include "tensor/quant/iq4_nl.h"

#include "tensor/quant/search.h"

namespace moebox {

const std::int8_t iq4_nl_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void dequantize(const BlockIQ4_NL& block, float* out) noexcept {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(iq4_nl_table[block.q[i] & 15]);
    out[i + 16] = scale * static_cast<float>(iq4_nl_table[block.q[i] >> 4]);
  }
}

namespace {

/// The index of the table's number next to `value`.
int nearest_index(float value) noexcept {
  int low = 0, high = 15;
  while (low < high) {
    const int middle = (low + high) / 2;
    const float border = 0.5f * static_cast<float>(iq4_nl_table[middle] + iq4_nl_table[middle + 1]);
    if (value <= border)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

quant::SymmetricFit table_fit(const float* x, float inverse) noexcept {
  float xt = 0, tt = 0;
  for (int i = 0; i < 32; ++i) {
    const auto t = static_cast<float>(iq4_nl_table[nearest_index(x[i] * inverse)]);
    xt += x[i] * t;
    tt += t * t;
  }
  return {xt / tt, xt * xt / tt};  // no number of the table is zero
}

}  // namespace

void quantize(const float* x, BlockIQ4_NL& block) noexcept {
  const float unit = quant::inverse_of(quant::extreme(x, 32));
  quant::SymmetricFit best;
  const auto attempt = [&](float inverse) {
    const quant::SymmetricFit fit = table_fit(x, inverse);
    if (fit.gain > best.gain) best = fit;
  };
  if (unit != 0.0f) {
    for (const int end : {iq4_nl_table[0], iq4_nl_table[15]})
      for (int k = -6; k <= 6; ++k) attempt(static_cast<float>(end) * (1.0f + 0.025f * static_cast<float>(k)) * unit);
    for (int round = 0; round < 2; ++round) attempt(quant::inverse_of(best.scale));
  }
  block.scale = quant::finite_half(best.scale);
  const float inverse = quant::inverse_of(to_float(block.scale));
  for (int i = 0; i < 16; ++i)
    block.q[i] = static_cast<std::uint8_t>(nearest_index(x[i] * inverse) | nearest_index(x[i + 16] * inverse) << 4);
}

}  // namespace moebox

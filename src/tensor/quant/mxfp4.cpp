#include "tensor/quant/mxfp4.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tensor/quant/search.h"

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

namespace {

/// The code of the FP4 number next to `value` / (table's unit).
std::uint8_t nearest_code(float value) noexcept {
  constexpr float borders[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};
  const float magnitude = std::abs(value);
  std::uint8_t code = 0;
  for (const float border : borders) code = static_cast<std::uint8_t>(code + (magnitude > border));
  return value < 0 && code > 0 ? static_cast<std::uint8_t>(code | 8) : code;
}

float error_with(const float* x, int exponent) noexcept {
  const float scale = mxfp4_half_scale(static_cast<std::uint8_t>(exponent)), inverse = std::ldexp(1.0f, 128 - exponent);
  float total = 0;
  for (int i = 0; i < 32; ++i) {
    const float error = x[i] - scale * static_cast<float>(mxfp4_table[nearest_code(x[i] * inverse)]);
    total += error * error;
  }
  return total;
}

}  // namespace

void quantize(const float* x, BlockMXFP4& block) noexcept {
  // With the exponent of the largest magnitude less 2, that value becomes 4 to 8 times 2^exponent; the format has 6.
  const float largest = std::abs(quant::extreme(x, 32));
  const int near = largest > 0 ? std::ilogb(largest) - 2 + 127 : 0;
  int best = std::clamp(near, 1, 254);  // 2^(128 - 1) is the largest inverse that a float holds
  float least = error_with(x, best);
  for (const int exponent : {near - 1, near + 1}) {
    if (exponent < 1 || exponent > 254) continue;
    if (const float error = error_with(x, exponent); error < least) {
      best = exponent;
      least = error;
    }
  }
  block.exponent = static_cast<std::uint8_t>(best);
  const float inverse = std::ldexp(1.0f, 128 - best);
  for (int i = 0; i < 16; ++i)
    block.q[i] = static_cast<std::uint8_t>(nearest_code(x[i] * inverse) | nearest_code(x[i + 16] * inverse) << 4);
}

}  // namespace moebox

#include "tensor/quant/f8_e4m3.h"

#include <array>
#include <limits>

namespace moebox {
namespace {

constexpr float value_of(int bits) {
  const int exponent = (bits >> 3) & 15, mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  float value = exponent == 0 ? static_cast<float>(mantissa) : static_cast<float>(8 + mantissa);
  for (int i = exponent == 0 ? 1 : exponent; i < 10; ++i) value *= 0.5f;  // value x 2^(exponent - 10): exact
  for (int i = 10; i < exponent; ++i) value *= 2.0f;
  return (bits & 128) != 0 ? -value : value;
}

constexpr std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = value_of(i);
  return table;
}

constexpr std::array<float, 256> table = make_table();

}  // namespace

void floats_from_f8_e4m3(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  for (std::size_t i = 0; i < n_elements; ++i) out[i] = table[std::to_integer<std::size_t>(row[i])];
}

}  // namespace moebox

#include "tensor/quant/plain.h"

#include <cstring>

#include "base/float_types.h"

namespace moebox {
namespace {

template <class Stored>
void convert(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  for (std::size_t i = 0; i < n_elements; ++i) {
    Stored stored;
    std::memcpy(&stored, row + i * sizeof stored, sizeof stored);
    out[i] = to_float(stored);
  }
}

}  // namespace

void floats_from_f32(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  if (n_elements > 0) std::memcpy(out, row, n_elements * sizeof *out);
}

void floats_from_f16(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  convert<Half>(row, out, n_elements);
}

void floats_from_bf16(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  convert<BFloat16>(row, out, n_elements);
}

void floats_to_f32(const float* values, std::byte* row, std::size_t n_elements) noexcept {
  if (n_elements > 0) std::memcpy(row, values, n_elements * sizeof *values);
}

void floats_to_f16(const float* values, std::byte* row, std::size_t n_elements) noexcept {
  for (std::size_t i = 0; i < n_elements; ++i) {
    const Half stored = to_half(values[i]);
    std::memcpy(row + i * sizeof stored, &stored, sizeof stored);
  }
}

void floats_to_bf16(const float* values, std::byte* row, std::size_t n_elements) noexcept {
  for (std::size_t i = 0; i < n_elements; ++i) {
    const BFloat16 stored = to_bfloat16(values[i]);
    std::memcpy(row + i * sizeof stored, &stored, sizeof stored);
  }
}

}  // namespace moebox

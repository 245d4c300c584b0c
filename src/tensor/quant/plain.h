// F32, F16 and BF16: stored numbers that are floats already, little-endian, at any address.
#pragma once

#include <cstddef>

namespace moebox {

void floats_from_f32(const std::byte* row, float* out, std::size_t n_elements) noexcept;
void floats_from_f16(const std::byte* row, float* out, std::size_t n_elements) noexcept;
void floats_from_bf16(const std::byte* row, float* out, std::size_t n_elements) noexcept;

/// Rounded to the nearest, ties to even. A value beyond F16's range becomes an infinity.
void floats_to_f32(const float* values, std::byte* row, std::size_t n_elements) noexcept;
void floats_to_f16(const float* values, std::byte* row, std::size_t n_elements) noexcept;
void floats_to_bf16(const float* values, std::byte* row, std::size_t n_elements) noexcept;

}  // namespace moebox

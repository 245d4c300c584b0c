// FP8 E4M3 ("fn": no infinities; 0x7f and 0xff are NaN), as the OCP's 8-bit floating point specification defines it.
// The scales that go with blocks of it are tensors of their own (models/stored_matrix.h).
#pragma once

#include <cstddef>

namespace moebox {

void floats_from_f8_e4m3(const std::byte* row, float* out, std::size_t n_elements) noexcept;

}  // namespace moebox

#include "models/stored_matrix.h"

#include <cstring>
#include <vector>

#include "base/float_types.h"
#include "tensor/dequantize.h"

namespace moebox {
namespace {

constexpr std::int64_t scaled_block = 128;

void multiply_by_scales(const TensorView& scales, std::int64_t row, std::vector<float>& values) {
  const auto n_scales = static_cast<std::size_t>(scales.n_columns());
  std::vector<float> factors(n_scales);
  std::memcpy(factors.data(),
              scales.data.data() + static_cast<std::size_t>(row / scaled_block) * n_scales * sizeof(float),
              n_scales * sizeof(float));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= factors[i / static_cast<std::size_t>(scaled_block)];
}

void write_number(DType dtype, float value, std::byte* out, std::size_t index) {
  if (dtype == DType::f32) {
    std::memcpy(out + index * 4, &value, 4);
    return;
  }
  const std::uint16_t bits = dtype == DType::bf16 ? to_bfloat16(value).bits : to_half(value).bits;
  std::memcpy(out + index * 2, &bits, 2);
}

}  // namespace

DType StoredMatrix::packed_dtype() const noexcept {
  if (view.dtype == DType::f8_e4m3) return DType::bf16;
  if (!transposed || info(view.dtype).block_elements == 1) return view.dtype;
  return DType::f16;
}

StoredMatrix StoredMatrix::rows(std::int64_t first, std::int64_t count) const {
  StoredMatrix part = *this;
  const std::size_t bytes = view.data.size() / static_cast<std::size_t>(view.n_rows());
  part.view.rank = 2;
  part.view.shape = {count, view.n_columns()};
  part.view.data = view.data.subspan(static_cast<std::size_t>(first) * bytes, static_cast<std::size_t>(count) * bytes);
  part.first_row += first;
  return part;
}

void StoredMatrix::convert_rows(std::int64_t first, std::int64_t last, std::byte* out) const {
  const DType to = packed_dtype();
  const auto columns = static_cast<std::size_t>(view.n_columns()), n = static_cast<std::size_t>(view.n_rows());
  const std::size_t bytes = view.data.size() / n;
  std::vector<float> values(columns);
  for (std::int64_t r = first; r < last; ++r) {
    const auto row = static_cast<std::size_t>(r);
    dequantize_row(view.dtype, view.data.data() + row * bytes, values.data(), columns);
    if (scales != nullptr) multiply_by_scales(*scales, first_row + r, values);
    for (std::size_t c = 0; c < columns; ++c)
      write_number(to, values[c], out, transposed ? c * n + row : row * columns + c);
  }
}

}  // namespace moebox

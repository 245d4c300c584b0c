#include "models/stored_matrix.h"

#include <cstring>
#include <vector>

#include "base/float_types.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "tensor/block_scales.h"
#include "tensor/dequantize.h"
#include "tensor/quantize.h"

namespace moebox {
namespace {

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
  return n_columns() % info(DType::q8_0).block_elements == 0 ? DType::q8_0 : DType::f16;
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

void StoredMatrix::convert_rows(DType to, std::int64_t first, std::int64_t last, std::byte* out) const {
  const auto columns = static_cast<std::size_t>(view.n_columns()), n = static_cast<std::size_t>(view.n_rows());
  const std::size_t bytes = view.data.size() / n;
  std::vector<float> values(columns);
  for (std::int64_t r = first; r < last; ++r) {
    const auto row = static_cast<std::size_t>(r);
    dequantize_row(view.dtype, view.data.data() + row * bytes, values.data(), columns);
    if (scales != nullptr) multiply_by_block_scales(*scales, first_row + r, values);
    for (std::size_t c = 0; c < columns; ++c)
      write_number(to, values[c], out, transposed ? c * n + row : row * columns + c);
  }
}

void StoredMatrix::pack(const PackedMatrix& target, std::byte* panels, ThreadTeam& team) const {
  if (is_plain()) {
    team.run([&](const TeamMember& member) {
      const auto part = member.part(target.n_panels());
      pack_panels(view, part.first, part.last, panels);
    });
    return;
  }
  const auto columns = static_cast<std::size_t>(target.n_columns);
  const std::size_t bytes = row_bytes(target.dtype, columns), n_rows = static_cast<std::size_t>(target.n_rows);
  std::vector<std::byte> converted(n_rows * bytes);
  // Blocks are made of whole rows.
  std::vector<float> floats(info(target.dtype).block_elements > 1 ? n_rows * columns : 0);
  TensorView all;
  all.dtype = target.dtype;
  all.rank = 2;
  all.shape = {target.n_rows, target.n_columns};
  all.data = converted;
  team.run([&](const TeamMember& member) {
    const auto rows = member.part(static_cast<int>(view.n_rows()));
    if (floats.empty()) {
      convert_rows(target.dtype, rows.first, rows.last, converted.data());
    } else {
      convert_rows(DType::f32, rows.first, rows.last, reinterpret_cast<std::byte*>(floats.data()));
      member.wait();
      const auto blocks = member.part(target.n_rows);
      for (auto r = static_cast<std::size_t>(blocks.first); r < static_cast<std::size_t>(blocks.last); ++r)
        quantize_row(target.dtype, floats.data() + r * columns, converted.data() + r * bytes, columns);
    }
    member.wait();
    const auto part = member.part(target.n_panels());
    pack_panels(all, part.first, part.last, panels);
  });
}

}  // namespace moebox

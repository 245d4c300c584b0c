#include "convert/source.h"

#include <algorithm>

#include "tensor/block_scales.h"
#include "tensor/dequantize.h"

namespace moebox {
namespace {

std::int64_t paired_row(const PairedRows& pairs, std::int64_t row) noexcept {
  if (pairs.head_rows == 0) return row;
  const std::int64_t start = row / pairs.head_rows * pairs.head_rows + pairs.first, i = row - start;
  if (i < 0 || i >= pairs.count) return row;
  return start + i / 2 + i % 2 * (pairs.count / 2);
}

std::int64_t head_row(const HeadRows& heads, std::int64_t row) noexcept {
  if (heads.head_rows == 0) return row;
  return row / heads.count * heads.head_rows + heads.first + row % heads.count;
}

}  // namespace

RowReader::RowReader(const TensorSource& source) : source_(source) {
  if (source.parts.empty())
    n_columns_ = static_cast<std::int64_t>(source.values.size());
  else
    n_columns_ = source.heads.transposed ? source.heads.count : source.parts.front().view.n_columns();
  // Here, because the threads that read must not throw.
  if (source.heads.transposed)
    matrix_.resize(static_cast<std::size_t>(source.heads.count * source.parts.front().view.n_columns()));
}

void RowReader::read(std::int64_t row, float* out) {
  if (source_.parts.empty()) {
    std::copy(source_.values.begin(), source_.values.end(), out);
    return;
  }
  if (source_.heads.transposed) return read_transposed(row, out);
  const std::int64_t rows = source_.parts.front().view.n_rows();
  const auto part = source_.heads.head_rows == 0 ? static_cast<std::size_t>(row / rows) : 0;
  const std::int64_t inside = source_.heads.head_rows == 0 ? row % rows : row;
  read_stored(source_.parts[part], head_row(source_.heads, paired_row(source_.pairs, inside)), out);
}

void RowReader::read_stored(const StoredPart& part, std::int64_t row, float* out) const {
  const TensorView& view = part.view;
  const auto columns = static_cast<std::size_t>(view.n_columns());
  const std::size_t bytes = view.data.size() / static_cast<std::size_t>(view.n_rows());
  dequantize_row(view.dtype, view.data.data() + static_cast<std::size_t>(row) * bytes, out, columns);
  if (part.scales != nullptr) multiply_by_block_scales(*part.scales, row, {out, columns});
}

void RowReader::read_transposed(std::int64_t row, float* out) {
  const StoredPart& part = source_.parts.front();
  const std::int64_t columns = part.view.n_columns(), count = source_.heads.count;
  const std::int64_t head = row / columns, column = row % columns;
  if (head != head_) {
    for (std::int64_t i = 0; i < count; ++i)
      read_stored(part, head * source_.heads.head_rows + source_.heads.first + i, matrix_.data() + i * columns);
    head_ = head;
  }
  for (std::int64_t i = 0; i < count; ++i) out[i] = matrix_[static_cast<std::size_t>(i * columns + column)];
}

void release_rows(const Checkpoint& checkpoint, const TensorSource& source, std::int64_t first, std::int64_t last) {
  if (source.parts.empty()) return;
  const std::int64_t rows = source.parts.front().view.n_rows();
  const bool whole = source.heads.head_rows != 0;  // read again for the other part of the heads
  if (whole) {
    for (const StoredPart& part : source.parts) checkpoint.release(part.view);
    return;
  }
  for (std::int64_t p = first / rows; p <= (last - 1) / rows; ++p) {
    TensorView part = source.parts[static_cast<std::size_t>(p)].view;
    const std::int64_t from = std::max<std::int64_t>(first - p * rows, 0), to = std::min(last - p * rows, rows);
    const std::size_t bytes = part.data.size() / static_cast<std::size_t>(rows);
    part.data = part.data.subspan(static_cast<std::size_t>(from) * bytes, static_cast<std::size_t>(to - from) * bytes);
    checkpoint.release(part);
  }
}

}  // namespace moebox

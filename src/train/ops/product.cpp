#include "train/ops/product.h"

namespace moebox::train_ops {

std::vector<RowChunk> cut_rows(std::span<const std::int64_t> first_row, std::int64_t n_panels, int n_workers) {
  constexpr std::int64_t fewest_rows = 96;  // fewer cost as much to pack as to multiply
  const std::int64_t wanted = 2 * n_workers / std::max<std::int64_t>(n_panels, 1) + 1;
  const std::int64_t longest = std::clamp(first_row.back() / wanted, fewest_rows, chunk_rows);
  std::vector<RowChunk> chunks;
  for (std::size_t group = 0; group + 1 < first_row.size(); ++group) {
    const std::int64_t last = first_row[group + 1], n = last - first_row[group];
    // Chunks of equal size: the last one would be the shortest otherwise, and its panels as dear as the others'.
    const std::int64_t parts = (n + longest - 1) / longest, each = parts > 0 ? (n + parts - 1) / parts : 0;
    for (std::int64_t row = first_row[group]; row < last; row += each)
      chunks.push_back({static_cast<int>(group), row, static_cast<int>(std::min(each, last - row))});
  }
  return chunks;
}

template <class T>
Left as_units(Compute& compute, ScratchUse& scratch, Rows<const T> x) {
  const ProductKernels<T>& kernels = compute.kernels.product<T>();
  if (kernels.reads_in_place(x.data, x.n_columns, x.stride))
    return {reinterpret_cast<const Unit*>(x.data), x.stride / kernels.elements_per_unit};
  const std::int64_t units = kernels.units(x.n_columns);
  Unit* copy = scratch.take<Unit>(units * x.n_rows);
  for_each_run(compute.workers, x.n_rows, 64, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) kernels.copy_row(x.row(row), x.n_columns, copy + row * units);
  });
  return {copy, units};
}

template <class T>
TileBuffers<T>::TileBuffers(Compute& compute, ScratchUse& scratch, std::int64_t longest)
    : kernels_(compute.kernels.product<T>()),
      rows_(compute.kernels.rows<T>()),
      panel_units_(kernels_.units(std::min(longest, sum_part<T>)) * kernels_.panel_columns),
      partial_(nullptr) {
  const std::int64_t workers = compute.workers.size();
  panels_ = scratch.take<Unit>(panel_units_ * workers);
  if (sizeof(T) == 2 && longest > sum_part<T>) partial_ = scratch.take<float>(workers * chunk_rows * panel_columns());
}

template <class T>
void TileBuffers<T>::multiply(int worker, const Unit* left, std::int64_t left_row, int n_rows, Right<T> right,
                              std::int64_t first_column, int columns, std::int64_t k, TileOut<T> out) const noexcept {
  Unit* panel = panels_ + worker * panel_units_;
  Product<T> product{left, left_row, 1, panel, n_rows, columns, 0, out.stride, out.f32, out.rounded, false};
  const bool in_parts = k > sum_part<T> && out.f32 == nullptr;
  if (in_parts) {
    product.out_f32 = partial_ + worker * chunk_rows * panel_columns();
    product.out_row = panel_columns();
  }
  for (std::int64_t first = 0; first == 0 || first < k; first += sum_part<T>) {
    const std::int64_t n = std::min(sum_part<T>, k - first);
    if (right.columns_are_rows)
      kernels_.pack_rows(right.data + first_column * right.stride + first, right.stride, columns, n, panel);
    else
      kernels_.pack_columns(right.data + first * right.stride + first_column, right.stride, columns, n, panel_columns(),
                            panel);
    product.left = left + kernels_.units(first);
    product.units = kernels_.units(n);
    product.add = first > 0;
    kernels_.multiply(product);
  }
  if (!in_parts) return;
  for (int row = 0; row < n_rows; ++row)
    rows_.scale_row(product.out_f32 + row * product.out_row, 1, columns, out.rounded + row * out.stride);
}

namespace {

// Rows of every group, packed in panels of columns: (group, panel, unit, panel_columns).
template <class T>
class PackedColumns {
 public:
  PackedColumns(Compute& compute, ScratchUse& scratch, std::span<const std::int64_t> first_row, Rows<const T> x)
      : kernels_(compute.kernels.product<T>()), n_panels_((x.n_columns + width() - 1) / width()) {
    std::int64_t units = 0;
    for (std::size_t group = 0; group + 1 < first_row.size(); ++group) {
      first_unit_.push_back(units);
      units += kernels_.units(first_row[group + 1] - first_row[group]);
    }
    first_unit_.push_back(units);
    data_ = scratch.take<Unit>(units * width() * n_panels_);
    // Pieces of an even number of rows: no unit belongs to two.
    constexpr std::int64_t piece_rows = 256;
    std::vector<RowChunk> pieces;
    for (std::size_t group = 0; group + 1 < first_row.size(); ++group) {
      for (std::int64_t row = first_row[group]; row < first_row[group + 1]; row += piece_rows)
        pieces.push_back(
            {static_cast<int>(group), row, static_cast<int>(std::min(piece_rows, first_row[group + 1] - row))});
    }
    for_each_task(compute.workers, static_cast<std::int64_t>(pieces.size()) * n_panels_, [&](std::int64_t task, int) {
      const RowChunk& piece = pieces[static_cast<std::size_t>(task / n_panels_)];
      const std::int64_t index = task % n_panels_, column = index * width();
      const std::int64_t unit = kernels_.units(piece.first_row - first_row[static_cast<std::size_t>(piece.group)]);
      kernels_.pack_columns(x.row(piece.first_row) + column, x.stride,
                            static_cast<int>(std::min(width(), x.n_columns - column)), piece.n_rows,
                            static_cast<int>(width()), panel(piece.group, index) + unit * width());
    });
  }

  std::int64_t width() const noexcept { return kernels_.panel_columns; }
  std::int64_t n_panels() const noexcept { return n_panels_; }
  Unit* panel(int group, std::int64_t index) const noexcept {
    const auto g = static_cast<std::size_t>(group);
    const std::int64_t units = first_unit_[g + 1] - first_unit_[g];
    return data_ + (first_unit_[g] * n_panels_ + index * units) * width();
  }

 private:
  const ProductKernels<T>& kernels_;
  std::int64_t n_panels_;
  std::vector<std::int64_t> first_unit_;
  Unit* data_;
};

}  // namespace

template <class T>
void multiply_transposed(Compute& compute, std::span<const std::int64_t> first_row,
                         const TransposedProduct<T>& product) {
  const ProductKernels<T>& kernels = compute.kernels.product<T>();
  ScratchUse scratch(compute.scratch);
  const PackedColumns<T> right(compute, scratch, first_row, product.right);
  const std::int64_t n = product.left.n_columns, k = product.right.n_columns, width = right.width();
  const auto n_groups = static_cast<std::int64_t>(first_row.size()) - 1;
  const std::int64_t n_blocks = (n + transposed_rows - 1) / transposed_rows;
  // A task packs its block of the left operand: few panels a task only where there are few blocks.
  const std::int64_t wanted = 2 * std::int64_t{compute.workers.size()},
                     blocks = std::max<std::int64_t>(1, n_groups * n_blocks);
  const std::int64_t n_runs =
      std::clamp<std::int64_t>((wanted + blocks - 1) / blocks, 1, std::max<std::int64_t>(1, right.n_panels()));
  const std::int64_t run = (right.n_panels() + n_runs - 1) / n_runs;
  const std::int64_t buffer = kernels.units(sum_part<T>) * transposed_rows;
  Unit* buffers = scratch.take<Unit>(buffer * compute.workers.size());

  for_each_task(compute.workers, n_groups * n_blocks * n_runs, [&](std::int64_t task, int worker) {
    const int group = static_cast<int>(task / (n_blocks * n_runs));
    const std::int64_t block = task / n_runs % n_blocks * transposed_rows;
    const std::int64_t first_panel = task % n_runs * run, last_panel = std::min(first_panel + run, right.n_panels());
    const int rows = static_cast<int>(std::min<std::int64_t>(transposed_rows, n - block));
    const std::int64_t begin = first_row[static_cast<std::size_t>(group)];
    const std::int64_t end = first_row[static_cast<std::size_t>(group) + 1];
    Unit* left = buffers + worker * buffer;
    for (std::int64_t first = 0; first == 0 || first < end - begin; first += sum_part<T>) {
      const std::int64_t length = std::min(sum_part<T>, end - begin - first);
      kernels.pack_columns(product.left.row(begin + first) + block, product.left.stride, rows, length, transposed_rows,
                           left);
      for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
        kernels.multiply({left, 1, transposed_rows, right.panel(group, panel) + kernels.units(first) * width, rows,
                          static_cast<int>(std::min(width, k - panel * width)), kernels.units(length), k,
                          product.out + (group * n + block) * k + panel * width, nullptr, product.add || first > 0});
      }
    }
  });
}

template Left as_units(Compute&, ScratchUse&, Rows<const float>);
template Left as_units(Compute&, ScratchUse&, Rows<const BFloat16>);
template class TileBuffers<float>;
template class TileBuffers<BFloat16>;
template void multiply_transposed(Compute&, std::span<const std::int64_t>, const TransposedProduct<float>&);
template void multiply_transposed(Compute&, std::span<const std::int64_t>, const TransposedProduct<BFloat16>&);

}  // namespace moebox::train_ops

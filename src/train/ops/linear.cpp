#include "train/ops/linear.h"

#include "train/ops/check.h"
#include "train/ops/product.h"

namespace moebox::train_ops {
namespace {

template <class T, class Out>
TileOut<T> tile_of(Rows<Out> y, std::int64_t row, std::int64_t column) {
  if constexpr (sizeof(Out) == 4)
    return {y.row(row) + column, nullptr, y.stride};
  else
    return {nullptr, y.row(row) + column, y.stride};
}

template <class T, class Out>
void multiply(Compute& compute, Rows<const T> x, Right<T> right, Rows<Out> y) {
  ScratchUse scratch(compute.scratch);
  const Left left = as_units(compute, scratch, x);
  const TileBuffers<T> buffers(compute, scratch, x.n_columns);
  const std::int64_t one_group[] = {0, x.n_rows}, n_panels = buffers.n_panels(y.n_columns);
  const std::vector<RowChunk> chunks = cut_rows(one_group, n_panels, compute.workers.size());
  for_each_task(
      compute.workers, static_cast<std::int64_t>(chunks.size()) * n_panels, [&](std::int64_t task, int worker) {
        const RowChunk& chunk = chunks[static_cast<std::size_t>(task / n_panels)];
        const std::int64_t panel = task % n_panels, column = panel * buffers.panel_columns();
        buffers.multiply(worker, left.units + chunk.first_row * left.row, left.row, chunk.n_rows, right, column,
                         buffers.columns_of(panel, y.n_columns), x.n_columns, tile_of<T>(y, chunk.first_row, column));
      });
}

}  // namespace

template <class T, class Out>
void linear_forward(Compute& compute, Rows<const T> x, Rows<const T> weight, Rows<Out> y) {
  expect_equal(x.n_columns, weight.n_columns, "columns of x and of the weight");
  expect_equal(y.n_columns, weight.n_rows, "columns of y and rows of the weight");
  expect_equal(y.n_rows, x.n_rows, "rows of y and of x");
  multiply(compute, x, Right<T>{weight.data, weight.stride, true}, y);
}

template <class T, class Out>
void linear_input_gradient(Compute& compute, Rows<const T> dy, Rows<const T> weight, Rows<Out> dx) {
  expect_equal(dy.n_columns, weight.n_rows, "columns of dy and rows of the weight");
  expect_equal(dx.n_columns, weight.n_columns, "columns of dx and of the weight");
  expect_equal(dx.n_rows, dy.n_rows, "rows of dx and of dy");
  multiply(compute, dy, Right<T>{weight.data, weight.stride, false}, dx);
}

template <class T>
void linear_weight_gradient(Compute& compute, Rows<const T> dy, Rows<const T> x, float* dw, bool add) {
  expect_equal(x.n_rows, dy.n_rows, "rows of x and of dy");
  const std::int64_t one_group[] = {0, x.n_rows};
  multiply_transposed<T>(compute, one_group, {dy, x, dw, add});
}

#define MOEBOX_LINEAR(T, Out)                                                      \
  template void linear_forward(Compute&, Rows<const T>, Rows<const T>, Rows<Out>); \
  template void linear_input_gradient(Compute&, Rows<const T>, Rows<const T>, Rows<Out>);
MOEBOX_LINEAR(float, float)
MOEBOX_LINEAR(BFloat16, BFloat16)
MOEBOX_LINEAR(BFloat16, float)
#undef MOEBOX_LINEAR
template void linear_weight_gradient(Compute&, Rows<const float>, Rows<const float>, float*, bool);
template void linear_weight_gradient(Compute&, Rows<const BFloat16>, Rows<const BFloat16>, float*, bool);

}  // namespace moebox::train_ops

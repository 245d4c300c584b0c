#include "train/ops/swiglu.h"

#include "train/ops/check.h"

namespace moebox::train_ops {
namespace {

constexpr std::int64_t swiglu_rows = 16;  // a task's

}  // namespace

template <class T>
void swiglu_forward(Compute& compute, Rows<const T> gate_up, Rows<T> out) {
  expect_equal(gate_up.n_rows, out.n_rows, "rows of gate_up and of the output");
  expect_equal(gate_up.n_columns, 2 * out.n_columns, "columns of gate_up");
  const RowKernels<T>& kernels = compute.kernels.rows<T>();
  for_each_run(compute.workers, out.n_rows, swiglu_rows, [&](std::int64_t first, std::int64_t last, int) {
    const T* gate = gate_up.row(first);
    kernels.swiglu({gate, gate + out.n_columns, gate_up.stride, nullptr, out.row(first), out.stride,
                    static_cast<int>(last - first), static_cast<int>(out.n_columns)});
  });
}

template <class T>
void swiglu_backward(Compute& compute, Rows<const T> d_out, Rows<const T> gate_up, Rows<T> d_gate_up) {
  expect_equal(gate_up.n_rows, d_out.n_rows, "rows of gate_up and of d_out");
  expect_equal(gate_up.n_columns, 2 * d_out.n_columns, "columns of gate_up");
  expect_equal(d_gate_up.n_rows, d_out.n_rows, "rows of d_gate_up and of d_out");
  expect_equal(d_gate_up.n_columns, gate_up.n_columns, "columns of d_gate_up");
  const RowKernels<T>& kernels = compute.kernels.rows<T>();
  const std::int64_t width = d_out.n_columns;
  for_each_run(compute.workers, d_out.n_rows, swiglu_rows, [&](std::int64_t first, std::int64_t last, int) {
    const T* gate = gate_up.row(first);
    T* d_gate = d_gate_up.row(first);
    kernels.swiglu_backward({d_out.row(first), gate, gate + width, d_out.stride, gate_up.stride, nullptr, nullptr,
                             nullptr, d_gate, d_gate + width, d_gate_up.stride, static_cast<int>(last - first),
                             static_cast<int>(width)});
  });
}

template void swiglu_forward(Compute&, Rows<const float>, Rows<float>);
template void swiglu_forward(Compute&, Rows<const BFloat16>, Rows<BFloat16>);
template void swiglu_backward(Compute&, Rows<const float>, Rows<const float>, Rows<float>);
template void swiglu_backward(Compute&, Rows<const BFloat16>, Rows<const BFloat16>, Rows<BFloat16>);

}  // namespace moebox::train_ops

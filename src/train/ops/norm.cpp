#include "train/ops/norm.h"

#include <algorithm>

#include "train/ops/check.h"

namespace moebox::train_ops {
namespace {

constexpr std::int64_t norm_rows = 64;  // sums of d_weight depend on it

}  // namespace

template <class X, class Y>
void rms_norm_forward(Compute& compute, Rows<const X> x, const float* weight, float epsilon, Rows<Y> y, float* rstd) {
  expect_equal(y.n_rows, x.n_rows, "rows of y and of x");
  expect_equal(y.n_columns, x.n_columns, "columns of y and of x");
  const NormKernels<X, Y>& kernels = compute.kernels.norm<X, Y>();
  for_each_run(compute.workers, x.n_rows, norm_rows, [&](std::int64_t first, std::int64_t last, int) {
    kernels.forward(
        {x.row(first), x.stride, weight, epsilon, y.row(first), y.stride, rstd + first, last - first, x.n_columns});
  });
}

template <class X, class Y>
void rms_norm_backward(Compute& compute, Rows<const Y> dy, Rows<const X> x, const float* weight, const float* rstd,
                       Rows<X> dx, float* d_weight, bool add) {
  expect_equal(dy.n_rows, x.n_rows, "rows of dy and of x");
  expect_equal(dy.n_columns, x.n_columns, "columns of dy and of x");
  expect_equal(dx.n_rows, x.n_rows, "rows of dx and of x");
  expect_equal(dx.n_columns, x.n_columns, "columns of dx and of x");
  const NormKernels<X, Y>& kernels = compute.kernels.norm<X, Y>();
  const std::int64_t n = x.n_columns, n_parts = (x.n_rows + norm_rows - 1) / norm_rows;
  ScratchUse scratch(compute.scratch);
  auto* parts = scratch.take<float>(n_parts * n);
  for_each_run(compute.workers, x.n_rows, norm_rows, [&](std::int64_t first, std::int64_t last, int) {
    kernels.backward({dy.row(first), dy.stride, x.row(first), x.stride, weight, rstd + first, dx.row(first), dx.stride,
                      parts + first / norm_rows * n, last - first, n});
  });
  if (!add) std::fill_n(d_weight, n, 0.0f);
  for (std::int64_t part = 0; part < n_parts; ++part) compute.kernels.add(d_weight, parts + part * n, n);
}

#define MOEBOX_NORM(X, Y)                                                                                              \
  template void rms_norm_forward(Compute&, Rows<const X>, const float*, float, Rows<Y>, float*);                       \
  template void rms_norm_backward(Compute&, Rows<const Y>, Rows<const X>, const float*, const float*, Rows<X>, float*, \
                                  bool);
MOEBOX_NORM(float, float)
MOEBOX_NORM(float, BFloat16)
MOEBOX_NORM(BFloat16, BFloat16)
#undef MOEBOX_NORM

}  // namespace moebox::train_ops

// The root-mean-square norm of rows. Sums over a row: 16 lanes, then a fixed tree.
#include "train/ops/isa/values.h"

namespace moebox::train_ops::MOEBOX_SIMD {
namespace {

template <class X, class Y>
void forward(const NormForward<X, Y>& p) noexcept {
  for (std::int64_t row = 0; row < p.rows; ++row) {
    const X* x = p.x + row * p.x_row;
    Y* y = p.y + row * p.y_row;
    Floats squares = splat(0);
    for_lanes(p.columns, [&](std::int64_t i, auto part) {
      const Floats v = part(x + i);
      squares = fma(v, v, squares);
    });
    const float rstd = 1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(p.columns) + p.epsilon);
    p.rstd[row] = rstd;
    for_lanes(p.columns,
              [&](std::int64_t i, auto part) { part(y + i, mul(mul(part(x + i), splat(rstd)), part(p.weight + i))); });
  }
}

// With h = x * rstd and g = dy * weight: dx = rstd * (g - h * mean(g h)), d_weight = sum of dy h.
template <class X, class Y>
void backward(const NormBackward<X, Y>& p) noexcept {
  for_lanes(p.columns, [&](std::int64_t i, auto part) { part(p.d_weight + i, splat(0)); });
  for (std::int64_t row = 0; row < p.rows; ++row) {
    const X* x = p.x + row * p.x_row;
    const Y* dy = p.dy + row * p.dy_row;
    X* dx = p.dx + row * p.dx_row;
    const Floats rstd = splat(p.rstd[row]);
    Floats sum = splat(0);
    for_lanes(p.columns, [&](std::int64_t i, auto part) {
      const Floats d = part(dy + i), h = mul(part(x + i), rstd);
      part(p.d_weight + i, fma(d, h, part(p.d_weight + i)));
      sum = fma(mul(d, part(p.weight + i)), h, sum);
    });
    const Floats mean = splat(sum_lanes(sum) / static_cast<float>(p.columns));
    for_lanes(p.columns, [&](std::int64_t i, auto part) {
      const Floats h = mul(part(x + i), rstd);
      part(dx + i, mul(rstd, fnma(h, mean, mul(part(dy + i), part(p.weight + i)))));
    });
  }
}

template <class X, class Y>
constexpr NormKernels<X, Y> kernels{forward<X, Y>, backward<X, Y>};

}  // namespace

void add_norm_kernels(KernelTable& table) noexcept {
  table.norm_f32 = kernels<float, float>;
  table.norm_f32_bf16 = kernels<float, BFloat16>;
  table.norm_bf16 = kernels<BFloat16, BFloat16>;
}

}  // namespace moebox::train_ops::MOEBOX_SIMD

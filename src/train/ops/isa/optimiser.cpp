// What is done to all weights at the end of a step.
#include "train/ops/isa/values.h"

namespace moebox::train_ops::MOEBOX_SIMD {
namespace {

// Loshchilov and Hutter 2019, algorithm 2: m and v, bias corrections, weight decay apart from the gradient.
void adamw(const AdamWStep& s) noexcept {
  const Floats beta1 = splat(s.beta1), beta2 = splat(s.beta2), rest1 = splat(s.rest1), rest2 = splat(s.rest2);
  const Floats scale = splat(s.gradient_scale), epsilon = splat(s.epsilon);
  const Floats keep = splat(s.keep), step = splat(s.step), root = splat(s.root);
  for_lanes(s.n, [&](std::int64_t i, auto part) {
    const Floats g = mul(part(s.gradients + i), scale);
    const Floats m = fma(beta1, part(s.m + i), mul(rest1, g));
    const Floats v = fma(beta2, part(s.v + i), mul(rest2, mul(g, g)));
    const Floats change = div(m, fma(square_root(v), root, epsilon));
    const Floats w = fnma(step, change, mul(keep, part(s.weights + i)));
    part(s.weights + i, w);
    part(s.m + i, m);
    part(s.v + i, v);
    if (s.copy != nullptr) part(s.copy + i, w);
    if (s.zero_gradients) part(s.gradients + i, splat(0));
  });
}

// Lanes of floats over 1,024 values at a time, doubles over these.
double sum_squares(const float* x, std::int64_t n) noexcept {
  double total = 0;
  for (std::int64_t first = 0; first < n; first += 1024) {
    Floats sum = splat(0);
    for_lanes(n - first < 1024 ? n - first : 1024, [&](std::int64_t i, auto part) {
      const Floats v = part(x + first + i);
      sum = fma(v, v, sum);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

void add_to(float* out, const float* x, std::int64_t n) noexcept {
  for_lanes(n, [&](std::int64_t i, auto part) { part(out + i, add(part(out + i), part(x + i))); });
}

}  // namespace

void add_optimiser_kernels(KernelTable& table) noexcept {
  table.adamw = adamw;
  table.sum_squares = sum_squares;
  table.add = add_to;
}

}  // namespace moebox::train_ops::MOEBOX_SIMD

// Everything between the linear layers and attention, over plain vectors. Compiled once for each instruction set.
#include "kernels/isa/functions.h"
#include "kernels/isa/math.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {

void rms_norm(const float* x, const float* weight, float epsilon, int n, float* out) noexcept {
  // 16 accumulators, then a fixed tree.
  Floats squares = splat(0);
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    const Floats v = load(x + i);
    squares = fma(v, v, squares);
  }
  if (i < n) {
    const Floats v = load_first(x + i, n - i);
    squares = fma(v, v, squares);
  }
  const Floats factor = splat(1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon));
  for (i = 0; i + 16 <= n; i += 16) store(out + i, mul(mul(load(x + i), factor), load(weight + i)));
  if (i < n) store_first(out + i, mul(mul(load_first(x + i, n - i), factor), load_first(weight + i, n - i)), n - i);
}

void add_to(float* x, const float* y, int n) noexcept {
  int i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, add(load(x + i), load(y + i)));
  for (; i < n; ++i) x[i] = x[i] + y[i];
}

void add_scaled(float* x, const float* y, float factor, int n) noexcept {
  const Floats a = splat(factor);
  int i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, fma(load(y + i), a, load(x + i)));
  if (i < n) store_first(x + i, fma(load_first(y + i, n - i), a, load_first(x + i, n - i)), n - i);
}

namespace {

MOEBOX_OP Floats silu_times(Floats gate, Floats up) {
  return mul(div(gate, add(splat(1), exp(sub(splat(0), gate)))), up);
}

// x' = x cos - y sin, y' = x sin + y cos.
MOEBOX_OP void rotate(Floats& x, Floats& y, Floats cos, Floats sin) {
  const Floats turned = fnma(y, sin, mul(x, cos));
  y = fma(y, cos, mul(x, sin));
  x = turned;
}

MOEBOX_OP void rotate_halves(float* head, const float* cos, const float* sin, int half) {
  int i = 0;
  for (; i + 16 <= half; i += 16) {
    Floats x = load(head + i), y = load(head + half + i);
    rotate(x, y, load(cos + i), load(sin + i));
    store(head + i, x);
    store(head + half + i, y);
  }
  const int rest = half - i;
  if (rest == 0) return;
  Floats x = load_first(head + i, rest), y = load_first(head + half + i, rest);
  rotate(x, y, load_first(cos + i, rest), load_first(sin + i, rest));
  store_first(head + i, x, rest);
  store_first(head + half + i, y, rest);
}

MOEBOX_OP void rotate_pairs(float* head, const float* cos, const float* sin, int half) {
  int i = 0;
  for (; i + 16 <= half; i += 16) {
    Floats x = load(head + 2 * i), y = load(head + 2 * i + 16);
    deinterleave(x, y);
    rotate(x, y, load(cos + i), load(sin + i));
    interleave(x, y);
    store(head + 2 * i, x);
    store(head + 2 * i + 16, y);
  }
  const int rest = half - i;
  if (rest == 0) return;
  float even[16] = {}, odd[16] = {};
  for (int j = 0; j < rest; ++j) even[j] = head[2 * (i + j)], odd[j] = head[2 * (i + j) + 1];
  Floats x = load(even), y = load(odd);
  rotate(x, y, load_first(cos + i, rest), load_first(sin + i, rest));
  store(even, x);
  store(odd, y);
  for (int j = 0; j < rest; ++j) head[2 * (i + j)] = even[j], head[2 * (i + j) + 1] = odd[j];
}

}  // namespace

void swiglu(const float* gate, const float* up, int n, float* out) noexcept {
  int i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, silu_times(load(gate + i), load(up + i)));
  if (i < n) store_first(out + i, silu_times(load_first(gate + i, n - i), load_first(up + i, n - i)), n - i);
}

void rope(float* head, const float* cos, const float* sin, int rope_dim, bool interleaved) noexcept {
  interleaved ? rotate_pairs(head, cos, sin, rope_dim / 2) : rotate_halves(head, cos, sin, rope_dim / 2);
}

namespace {

// The largest value that is not NaN; -infinity when there is none.
float largest(const float* x, int n) {
  const Floats lowest = splat(-infinity);
  Floats m[4] = {lowest, lowest, lowest, lowest};
  int i = 0;
  for (; i + 64 <= n; i += 64) {
    MOEBOX_UNROLL
    for (int j = 0; j < 4; ++j) m[j] = maximum(load(x + i + 16 * j), m[j]);
  }
  for (; i + 16 <= n; i += 16) m[0] = maximum(load(x + i), m[0]);
  if (i < n) m[0] = maximum(first_lanes(load_first(x + i, n - i), n - i, lowest), m[0]);
  return max_lanes(maximum(maximum(m[0], m[1]), maximum(m[2], m[3])));
}

}  // namespace

int argmax(const float* x, int n) noexcept {
  const float best = largest(x, n);
  const Floats wanted = splat(best);
  int i = 0;
  while (i + 16 <= n && !any_equal(load(x + i), wanted)) i += 16;
  for (; i < n; ++i) {
    if (x[i] == best) return i;
  }
  return 0;
}

float log_sum_exp(const float* x, int n) noexcept {
  float base = largest(x, n);
  if (base == infinity || base == -infinity) base = 0;
  const Floats shift = splat(base);
  // Float lanes over 4096 values at a time, double over these: 150,000 addends lose no digits that matter.
  constexpr int run = 4096;
  double total = 0;
  for (int first = 0; first < n; first += run) {
    const int end = n - first < run ? n : first + run;
    Floats sum = splat(0);
    int i = first;
    for (; i + 16 <= end; i += 16) sum = add(sum, exp(sub(load(x + i), shift)));
    if (i < end) sum = add(sum, first_lanes(exp(sub(load_first(x + i, end - i), shift)), end - i, splat(0)));
    total += static_cast<double>(sum_lanes(sum));
  }
  return base + static_cast<float>(__builtin_log(total));
}

}  // namespace moebox::MOEBOX_SIMD

// What is done row by row: SwiGLU, sums of rows, RoPE, cross entropy.
#include "train/ops/isa/values.h"

namespace moebox::train_ops::MOEBOX_SIMD {
namespace {

template <class T>
void swiglu(const SwigluForward<T>& p) noexcept {
  for (int row = 0; row < p.rows; ++row) {
    const T *gate = p.gate + row * p.in_row, *up = p.up + row * p.in_row;
    T* out = p.out + row * p.out_row;
    const Floats weight = splat(p.weight != nullptr ? p.weight[row] : 1);
    for_lanes(p.columns, [&](std::int64_t i, auto part) {
      const Floats g = part(gate + i);
      part(out + i, mul(weight, mul(mul(g, sigmoid(g)), part(up + i))));
    });
  }
}

template <class T>
void swiglu_backward(const SwigluBackward<T>& p) noexcept {
  for (int row = 0; row < p.rows; ++row) {
    const T *d_out = p.d_out + row * p.d_out_row, *gate = p.gate + row * p.in_row, *up = p.up + row * p.in_row;
    T *d_gate = p.d_gate + row * p.d_in_row, *d_up = p.d_up + row * p.d_in_row;
    const bool weighs = p.weight != nullptr;
    const Floats weight = splat(weighs ? p.weight[row] : 1);
    Floats d_weight = splat(0);
    for_lanes(p.columns, [&](std::int64_t i, auto part) {
      const Floats g = part(gate + i), u = part(up + i), s = sigmoid(g), silu = mul(g, s);
      Floats d = part(d_out + i);
      if (weighs) {
        const Floats h = mul(silu, u);
        d_weight = fma(d, h, d_weight);  // d is 0 in lanes beyond the row
        part(p.weighted + row * std::int64_t{p.columns} + i, mul(weight, h));
        d = mul(d, weight);
      }
      part(d_up + i, mul(d, silu));
      part(d_gate + i, mul(mul(d, u), fma(silu, sub(splat(1), s), s)));  // silu' = s + g s (1 - s)
    });
    if (weighs) p.d_weight[row] = sum_lanes(d_weight);
  }
}

template <class T>
void sum_rows(const float* data, std::int64_t stride, const std::int32_t* rows, int n_rows, std::int64_t n,
              T* out) noexcept {
  for_lanes(n, [&](std::int64_t i, auto part) {
    Floats sum = splat(0);
    for (int r = 0; r < n_rows; ++r) sum = add(sum, part(data + rows[r] * stride + i));
    part(out + i, sum);
  });
}

template <class In, class T>
void sum_every(const In* data, std::int64_t stride, int n_rows, std::int64_t n, T* out) noexcept {
  for_lanes(n, [&](std::int64_t i, auto part) {
    Floats sum = splat(0);
    for (int r = 0; r < n_rows; ++r) sum = add(sum, part(data + r * stride + i));
    part(out + i, sum);
  });
}

// x' = x cos - y sin, y' = x sin + y cos.
MOEBOX_OP void rotate(Floats& x, Floats& y, Floats cos, Floats sin) {
  const Floats turned = fnma(y, sin, mul(x, cos));
  y = fma(y, cos, mul(x, sin));
  x = turned;
}

// The same for pairs that are neighbours in 32 values in a row.
MOEBOX_OP void rotate_neighbours(Floats& x, Floats& y, Floats cos, Floats sin) {
  deinterleave(x, y);
  rotate(x, y, cos, sin);
  interleave(x, y);
}

template <class T>
void rope(const T* in, const float* cos, const float* sin, int half, bool interleaved, bool backward, T* out) noexcept {
  for_lanes(half, [&](std::int64_t i, auto part) {
    const Floats c = part(cos + i), s = backward ? sub(splat(0), part(sin + i)) : part(sin + i);
    if (!interleaved) {
      Floats x = part(in + i), y = part(in + half + i);
      rotate(x, y, c, s);
      part(out + i, x);
      part(out + half + i, y);
      return;
    }
    if constexpr (part.whole) {
      Floats x = read(in + 2 * i), y = read(in + 2 * i + 16);
      rotate_neighbours(x, y, c, s);
      write(out + 2 * i, x);
      write(out + 2 * i + 16, y);
    } else {
      const int first = part.n < 8 ? 2 * part.n : 16, second = 2 * part.n - first;
      Floats x = read_first(in + 2 * i, first), y = read_first(in + 2 * i + 16, second);
      rotate_neighbours(x, y, c, s);
      write_first(out + 2 * i, x, first);
      write_first(out + 2 * i + 16, y, second);
    }
  });
}

float largest(const float* x, std::int64_t n) {
  Floats m[4] = {splat(-infinity), splat(-infinity), splat(-infinity), splat(-infinity)};
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    MOEBOX_UNROLL
    for (int j = 0; j < 4; ++j) m[j] = maximum(load(x + i + 16 * j), m[j]);
  }
  for (; i + 16 <= n; i += 16) m[0] = maximum(load(x + i), m[0]);
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    m[0] = maximum(first_lanes(load_first(x + i, rest), rest, splat(-infinity)), m[0]);
  }
  return max_lanes(maximum(maximum(m[0], m[1]), maximum(m[2], m[3])));
}

// Three passes over a row that is in a cache: its maximum; e^(x - maximum), stored, with its sum (lanes of floats over
// 4,096 values at a time, doubles over these); the gradient.
template <class T>
CrossEntropyResult cross_entropy(const CrossEntropyRow& p) noexcept {
  const std::int64_t n = p.n;
  float* x = p.logits;
  T* d = reinterpret_cast<T*>(p.logits);
  if (p.target < 0) {
    for_lanes(n, [&](std::int64_t i, auto part) { part(d + i, splat(0)); });
    return {0, 0};
  }
  const float base = largest(x, n), target_logit = x[p.target];
  const Floats shift = splat(base);
  double total = 0;
  for (std::int64_t first = 0; first < n; first += 4096) {
    Floats sum = splat(0);
    for_lanes(n - first < 4096 ? n - first : 4096, [&](std::int64_t i, auto part) {
      const Floats e = part.masked(exp(sub(part(x + first + i), shift)));
      part(x + first + i, e);
      sum = add(sum, e);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  const float log_sum_exp = base + static_cast<float>(__builtin_log(total));
  // loss = lse - x_t + z lse^2, so d x_i = p_i (1 + 2 z lse) - [i = t].
  const float spread = p.scale * (1 + 2 * p.z_loss * log_sum_exp);
  const Floats factor = splat(spread / static_cast<float>(total));
  const float at_target = x[p.target] * (spread / static_cast<float>(total)) - p.scale;
  // A part's gradients begin not behind its floats: 16 are read before 16 are written.
  for_lanes(n, [&](std::int64_t i, auto part) {
    const Floats e = part(x + i);
    part(d + i, mul(e, factor));
  });
  write_first(d + p.target, splat(at_target), 1);
  return {log_sum_exp - target_logit, log_sum_exp};
}

template <class T>
void scale_row(const float* in, float factor, std::int64_t n, T* out) noexcept {
  const Floats f = splat(factor);
  for_lanes(n, [&](std::int64_t i, auto part) { part(out + i, mul(part(in + i), f)); });
}

template <class T>
float dot(const T* a, const T* b, std::int64_t n) noexcept {
  Floats sum = splat(0);
  for_lanes(n, [&](std::int64_t i, auto part) { sum = fma(part(a + i), part(b + i), sum); });
  return sum_lanes(sum);
}

template <class T>
void add_rows(RowKernels<T>& kernels) {
  kernels.swiglu = swiglu<T>;
  kernels.swiglu_backward = swiglu_backward<T>;
  kernels.sum_rows = sum_rows<T>;
  kernels.sum_every = sum_every<float, T>;
  kernels.sum_stored = sum_every<T, T>;
  kernels.rope = rope<T>;
  kernels.cross_entropy = cross_entropy<T>;
  kernels.scale_row = scale_row<T>;
  kernels.dot = dot<T>;
}

}  // namespace

void add_row_kernels(KernelTable& table) noexcept {
  add_rows(table.rows_f32);
  add_rows(table.rows_bf16);
}

}  // namespace moebox::train_ops::MOEBOX_SIMD

// The softmax of attention over one tile of keys. A row sees the columns [first, last); what it does not see counts as
// -infinity, and its probability is exactly 0.
#include "train/ops/isa/values.h"

namespace moebox::train_ops::MOEBOX_SIMD {
namespace {

// Columns of whole registers that hold a visible one.
struct Span {
  int first, last;
};

template <class T>
MOEBOX_OP void clear(T* row, int first, int last) {
  for (int c = first; c < last; c += 16) write(row + c, splat(0));
}

// -infinity in those columns of the span that the row does not see.
MOEBOX_OP Span hide(float* scores, int first, int last) {
  const Span span = {first / 16 * 16, (last + 15) / 16 * 16};
  for (int c = span.first; c < first; ++c) scores[c] = -infinity;
  for (int c = last; c < span.last; ++c) scores[c] = -infinity;
  return span;
}

template <class T>
void softmax(const SoftmaxForward<T>& p) noexcept {
  const Floats scale = splat(p.scale);
  for (int row = 0; row < p.rows; ++row) {
    float* x = p.scores + row * p.scores_row;
    T* out = p.p + row * std::int64_t{p.columns};
    if (p.first[row] >= p.last[row]) {
      clear(out, 0, p.columns);
      continue;
    }
    const Span span = hide(x, p.first[row], p.last[row]);
    Floats m = splat(-infinity);
    for (int c = span.first; c < span.last; c += 16) {
      const Floats scaled = mul(load(x + c), scale);
      store(x + c, scaled);
      m = maximum(scaled, m);
    }
    const float old = p.maximum[row], largest = max_lanes(m), now = largest > old ? largest : old;
    const Floats shift = splat(now);
    Floats sum = splat(0);
    clear(out, 0, span.first);
    for (int c = span.first; c < span.last; c += 16) {
      const Floats e = exp_not_positive(sub(load(x + c), shift));
      sum = add(sum, e);
      write(out + c, e);
    }
    clear(out, span.last, p.columns);
    const float alpha = first_lane(exp_not_positive(splat(old - now)));
    p.sum[row] = p.sum[row] * alpha + sum_lanes(sum);
    p.maximum[row] = now;
    if (alpha != 1) {
      float* sums = p.out + row * p.out_row;
      for_lanes(p.out_columns, [&](std::int64_t i, auto part) { part(sums + i, mul(part(sums + i), splat(alpha))); });
    }
  }
}

// p = e^(score - lse), ds = p (dp - delta) scale.
template <class T>
void softmax_backward(const SoftmaxBackward<T>& a) noexcept {
  const Floats scale = splat(a.scale);
  for (int row = 0; row < a.rows; ++row) {
    float* x = a.scores + row * a.scores_row;
    const float* dp = a.dp + row * a.scores_row;
    T *p = a.p + row * std::int64_t{a.columns}, *ds = a.ds + row * std::int64_t{a.columns};
    const bool sees = a.first[row] < a.last[row];
    const Span span = sees ? hide(x, a.first[row], a.last[row]) : Span{0, 0};
    const Floats shift = splat(a.log_sum_exp[row]), delta = splat(a.delta[row]);
    clear(p, 0, span.first);
    clear(ds, 0, span.first);
    for (int c = span.first; c < span.last; c += 16) {
      // The score's rounding may leave it above the sum's logarithm by as much.
      const Floats e = exp(sub(mul(load(x + c), scale), shift));
      write(p + c, e);
      write(ds + c, mul(mul(e, sub(load(dp + c), delta)), scale));
    }
    clear(p, span.last, a.columns);
    clear(ds, span.last, a.columns);
  }
}

}  // namespace

void add_softmax_kernels(KernelTable& table) noexcept {
  table.rows_f32.softmax = softmax<float>;
  table.rows_bf16.softmax = softmax<BFloat16>;
  table.rows_f32.softmax_backward = softmax_backward<float>;
  table.rows_bf16.softmax_backward = softmax_backward<BFloat16>;
}

}  // namespace moebox::train_ops::MOEBOX_SIMD

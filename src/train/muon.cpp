#include "train/muon.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include <ATen/Parallel.h>

#include "train/cpu_compute.h"
#include "train/ops/linear.h"
#include "train/ops/optimiser.h"

namespace moebox::train {
namespace {

// The polynomial in x, x^3 and x^5 that takes small singular values up fastest (Jordan et al. 2024).
constexpr double of_x = 3.4445, of_x3 = -4.7750, of_x5 = 2.0315;
// A step's root mean square, as AdamW's are found to be (Liu et al. 2025).
constexpr double step_size = 0.2;
constexpr double shortest = 1e-7;

void mix_elements(float* x, float x_share, const float* y, float y_share, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] = x_share * x[i] + y_share * y[i];
}

/// x = x_share x + y_share y, without gaps. An element's bits do not depend on where the work is cut.
void mix(const Tensor& x, double x_share, const Tensor& y, double y_share) {
  if (!is_for_cpu_operators(x)) {
    x.mul_(x_share).add_(y, y_share);
    return;
  }
  float* xs = elements<float>(x);
  const float* ys = elements<float>(y);
  const auto p = static_cast<float>(x_share), q = static_cast<float>(y_share);
  at::parallel_for(0, x.numel(), 1 << 15, [&](std::int64_t first, std::int64_t last) {
    mix_elements(xs + first, p, ys + first, q, last - first);
  });
}

/// x x^T of x (rows, columns): (rows, rows) in float32.
Tensor gram(const Tensor& x) {
  if (!is_for_cpu_operators(x)) return at::mm(x, x.t()).to(at::kFloat);
  const Tensor y = at::empty({x.size(0), x.size(0)}, x.options().dtype(at::kFloat));
  for_type_of(x, [&](auto type) {
    using T = const decltype(type);
    train_ops::linear_forward(cpu_compute(), rows_of<T>(x), rows_of<T>(x), rows_of<float>(y));
  });
  return y;
}

/// (rows, inner) times (inner, columns), in float32.
Tensor product(const Tensor& x, const Tensor& y) {
  if (!is_for_cpu_operators(x)) return at::mm(x, y).to(at::kFloat);
  const Tensor z = at::empty({x.size(0), y.size(1)}, x.options().dtype(at::kFloat));
  for_type_of(x, [&](auto type) {
    using T = const decltype(type);
    train_ops::linear_input_gradient(cpu_compute(), rows_of<T>(x), rows_of<T>(y), rows_of<float>(z));
  });
  return z;
}

/// On a processor every thread works on a matrix of its own: an expert's are too small for several. No matrix's bits
/// depend on where it was worked on.
template <class Work>
void for_each_matrix(const std::vector<std::pair<Tensor, Tensor>>& matrices, const Work& work) {
  if (matrices.empty()) return;
  if (!is_for_cpu_operators(matrices.front().first)) {
    for (const auto& [values, update] : matrices) work(values, update);
    return;
  }
  std::atomic<std::size_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](std::int64_t, std::int64_t) {
    const at::NoGradGuard no_gradient;
    for (std::size_t i = next++; i < matrices.size(); i = next++) work(matrices[i].first, matrices[i].second);
  });
}

double length_of(const Tensor& x) {
  if (!is_for_cpu_operators(x)) return at::linalg_vector_norm(x).item<double>();
  return std::sqrt(train_ops::sum_squares(cpu_compute(), elements<float>(x), x.numel()));
}

}  // namespace

Tensor nearly_orthogonal(const Tensor& matrix, int iterations, at::ScalarType type) {
  const bool tall = matrix.size(0) > matrix.size(1);
  const Tensor x = (tall ? matrix.t() : matrix).clone(at::MemoryFormat::Contiguous);
  x.mul_(1.0 / std::max(length_of(x), shortest));
  for (int i = 0; i < iterations; ++i) {
    const Tensor factor = x.to(type), squares = gram(factor), rounded = squares.to(type);
    const Tensor fourths = product(rounded, rounded);
    mix(fourths, of_x5, squares, of_x3);
    mix(x, of_x, product(fourths.to(type), factor), 1.0);
  }
  return tall ? x.t().contiguous() : x;
}

Muon::Muon(const std::vector<Weight>& weights, const MuonOptions& options) : options_(options) {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights) weights_.push_back({weight, at::zeros_like(weight.values)});
}

void Muon::step(double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_gradient;
  std::vector<std::pair<Tensor, Tensor>> matrices;  // what is learnt, and its update before it is orthogonal
  for (const Moving& moving : weights_) {
    if (!moving.weight.values.grad().defined()) continue;
    const Tensor values = moving.weight.values.detach(), gradient = moving.weight.values.grad().contiguous();
    const double fresh = (1 - options_.momentum) * gradient_scale;
    mix(moving.momentum, options_.momentum, gradient, fresh);
    const Tensor update = gradient.clone();
    mix(update, fresh, moving.momentum, options_.momentum);
    for (const WeightPart& part : moving.weight.parts)
      matrices.emplace_back(part_of(values, part), part_of(update, part));
  }
  for_each_matrix(matrices, [&](const Tensor& values, const Tensor& update) {
    const auto longer = static_cast<double>(std::max(values.size(0), values.size(1)));
    mix(values, 1 - learning_rate * options_.weight_decay,
        nearly_orthogonal(update, options_.iterations, options_.type), -learning_rate * step_size * std::sqrt(longer));
  });
}

void Muon::clear_gradients() {
  for (Moving& moving : weights_) moving.weight.values.mutable_grad().reset();
}

std::vector<Tensor> Muon::moments_of(const Tensor& values) const {
  for (const Moving& moving : weights_)
    if (moving.weight.values.is_same(values)) return {moving.momentum};
  return {};
}

std::vector<NamedTensor> Muon::state() const {
  std::vector<NamedTensor> state;
  for (const Moving& moving : weights_) add_parts(state, "momentum", moving.weight, moving.momentum);
  return state;
}

}  // namespace moebox::train

// Products with a weight and their gradients, against the plain sums in double.
#include "train/ops/linear.h"

#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class LinearOps : public TrainOps {};

struct LinearShape {
  int rows, in, out;
};
// Nothing at all, one of each, tails of every kind, several chunks of rows, sums in several parts.
constexpr LinearShape linear_shapes[] = {{0, 5, 3},      {1, 1, 1},    {3, 2, 5},     {7, 17, 33},
                                         {5, 64, 64},    {13, 31, 16}, {64, 33, 65},  {97, 100, 70},
                                         {530, 19, 100}, {4, 2100, 9}, {9, 1025, 17}, {2, 0, 4}};

struct Sums {
  std::vector<double> value, size;  // sum a b, sum |a b|
};
// out (m, n) = sum over k of a(i, k) * b(k, j).
template <class A, class B>
Sums product(int m, int n, int k, A a, B b) {
  Sums sums;
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double value = 0, size = 0;
      for (int l = 0; l < k; ++l) value += a(i, l) * b(l, j), size += std::abs(a(i, l) * b(l, j));
      sums.value.push_back(value);
      sums.size.push_back(size);
    }
  }
  return sums;
}

// Rounding errors of a sum of k numbers are independent enough to grow with its root.
std::vector<double> tolerance(const Sums& sums, int k, double result_rounding) {
  std::vector<double> all;
  for (std::size_t i = 0; i < sums.value.size(); ++i)
    all.push_back((4 * std::sqrt(k) + 2) * unit * sums.size[i] + result_rounding * std::abs(sums.value[i]) + 1e-37);
  return all;
}

template <class T>
void check_linear(ops::Compute& compute, Random& random, LinearShape s) {
  const auto x = random_values<T>(random, s.rows * s.in), w = random_values<T>(random, s.out * s.in);
  const auto dy = random_values<T>(random, s.rows * s.out);
  const auto at = [](const std::vector<T>& v, int columns) {
    return [&v, columns](int i, int j) { return value_of(v[static_cast<std::size_t>(i * columns + j)]); };
  };
  const auto transposed = [](auto f) { return [f](int i, int j) { return f(j, i); }; };
  const auto x_at = at(x, s.in), w_at = at(w, s.in), dy_at = at(dy, s.out);

  auto y = unwritten<T>(s.rows * s.out);
  ops::linear_forward(compute, rows_of(x, s.rows, s.in), rows_of(w, s.out, s.in), rows_of(y, s.rows, s.out));
  const Sums forward = product(s.rows, s.out, s.in, x_at, transposed(w_at));
  expect_near(y, forward.value, tolerance(forward, s.in, rounding<T>), "y");
  auto wide = unwritten<float>(s.rows * s.out);
  ops::linear_forward(compute, rows_of(x, s.rows, s.in), rows_of(w, s.out, s.in), rows_of(wide, s.rows, s.out));
  expect_near(wide, forward.value, tolerance(forward, s.in, unit), "y in float");

  auto dx = unwritten<T>(s.rows * s.in);
  ops::linear_input_gradient(compute, rows_of(dy, s.rows, s.out), rows_of(w, s.out, s.in), rows_of(dx, s.rows, s.in));
  const Sums input = product(s.rows, s.in, s.out, dy_at, w_at);
  expect_near(dx, input.value, tolerance(input, s.out, rounding<T>), "dx");

  auto dw = unwritten<float>(s.out * s.in);
  Sums weight = product(s.out, s.in, s.rows, transposed(dy_at), x_at);
  for (const bool add : {false, true}) {
    ops::linear_weight_gradient(compute, rows_of(dy, s.rows, s.out), rows_of(x, s.rows, s.in), dw.data(), add);
    expect_near(dw, weight.value, tolerance(weight, s.rows, 2 * unit), add ? "dw, twice" : "dw");
    for (double& v : weight.value) v *= 2;
  }
}

TEST_P(LinearOps, EqualsThePlainSums) {
  for (const LinearShape& shape : linear_shapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " " + std::to_string(shape.in) + " " + std::to_string(shape.out));
    if (slow_machine && shape.rows * shape.in * shape.out > 500'000) continue;
    check_linear<float>(compute_, random_, shape);
    check_linear<BFloat16>(compute_, random_, shape);
  }
}

template <class T>
std::vector<std::byte> linear_bits(ops::Compute& compute, LinearShape s) {
  Random random(7);
  const auto x = random_values<T>(random, s.rows * s.in), w = random_values<T>(random, s.out * s.in);
  const auto dy = random_values<T>(random, s.rows * s.out);
  auto y = unwritten<T>(s.rows * s.out), dx = unwritten<T>(s.rows * s.in);
  auto dw = unwritten<float>(s.out * s.in);
  ops::linear_forward(compute, rows_of(x, s.rows, s.in), rows_of(w, s.out, s.in), rows_of(y, s.rows, s.out));
  ops::linear_input_gradient(compute, rows_of(dy, s.rows, s.out), rows_of(w, s.out, s.in), rows_of(dx, s.rows, s.in));
  ops::linear_weight_gradient(compute, rows_of(dy, s.rows, s.out), rows_of(x, s.rows, s.in), dw.data(), false);
  std::vector<std::byte> bytes;
  append(bytes, y), append(bytes, dx), append(bytes, dw);
  return bytes;
}

TEST_P(LinearOps, TheSameBitsOnAnyNumberOfThreads) {
  for (const LinearShape shape : {LinearShape{13, 2101, 37}, LinearShape{530, 18, 37}}) {
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return linear_bits<float>(compute, shape); });
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return linear_bits<BFloat16>(compute, shape); });
  }
}

// Rows that lie apart in memory: a slice of a wider matrix, at an odd distance.
TEST_P(LinearOps, ReadsAndWritesSlices) {
  const int rows = 5, in = 6, out = 7, stride = 11;
  const auto x = random_values<BFloat16>(random_, rows * stride), w = random_values<BFloat16>(random_, out * stride);
  std::vector<BFloat16> xs, ws, y(rows * stride, to_bfloat16(5)), expected(rows * out);
  for (int i = 0; i < rows; ++i)
    xs.insert(xs.end(), &x[static_cast<std::size_t>(i * stride)], &x[static_cast<std::size_t>(i * stride + in)]);
  for (int i = 0; i < out; ++i)
    ws.insert(ws.end(), &w[static_cast<std::size_t>(i * stride)], &w[static_cast<std::size_t>(i * stride + in)]);
  ops::linear_forward<BFloat16, BFloat16>(compute_, {x.data(), rows, in, stride}, {w.data(), out, in, stride},
                                          {y.data(), rows, out, stride});
  ops::linear_forward(compute_, rows_of(std::as_const(xs), rows, in), rows_of(std::as_const(ws), out, in),
                      rows_of(expected, rows, out));
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < stride; ++j) {
      const float wanted = j < out ? to_float(expected[static_cast<std::size_t>(i * out + j)]) : 5;
      EXPECT_EQ(to_float(y[static_cast<std::size_t>(i * stride + j)]), wanted) << i << " " << j;
    }
  }
}

TEST_P(LinearOps, ShapesThatDoNotFitAreAnError) {
  const std::vector<float> x(12), w(12);
  std::vector<float> y(9);
  EXPECT_THROW(ops::linear_forward(compute_, rows_of(x, 3, 4), rows_of(w, 4, 3), rows_of(y, 3, 3)), Error);
  EXPECT_THROW(ops::linear_input_gradient(compute_, rows_of(x, 3, 4), rows_of(w, 3, 4), rows_of(y, 3, 3)), Error);
  EXPECT_THROW(ops::linear_weight_gradient(compute_, rows_of(x, 3, 4), rows_of(w, 4, 3), y.data(), false), Error);
}

MOEBOX_FOR_ALL_ISAS(LinearOps);

}  // namespace
}  // namespace moebox::test

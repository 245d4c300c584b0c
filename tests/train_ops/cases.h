// What the tests of the trainer's operators share: numbers in both types with their values in double, tolerances, the
// instruction sets and numbers of threads to run under.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/kernel_cases.h"
#include "speed.h"
#include "train/ops/compute.h"
#include "train/ops/rows.h"

namespace moebox::test {

namespace ops = moebox::train_ops;

inline constexpr double unit = 0x1p-24;  // half a unit in the last place of 1
/// Rounding a result to T, relative.
template <class T>
inline constexpr double rounding = sizeof(T) == 4 ? unit : 0x1p-8;

inline float rounded_to(float, float value) { return value; }
inline BFloat16 rounded_to(BFloat16, float value) { return to_bfloat16(value); }
inline double value_of(float x) { return static_cast<double>(x); }
inline double value_of(BFloat16 x) { return static_cast<double>(to_float(x)); }

template <class T>
std::vector<T> random_values(Random& random, std::int64_t n, float size = 1) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& v : values) v = rounded_to(T{}, random.gaussian() * size);
  return values;
}

template <class T>
std::vector<double> doubles(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T& v : values) result.push_back(value_of(v));
  return result;
}

/// What outputs hold before: something that no operator may leave, nor read.
template <class T>
std::vector<T> unwritten(std::int64_t n) {
  return std::vector<T>(static_cast<std::size_t>(n), rounded_to(T{}, std::nanf("")));
}

template <class T>
ops::Rows<const T> rows_of(const std::vector<T>& v, std::int64_t n_rows, std::int64_t n_columns) {
  EXPECT_EQ(static_cast<std::int64_t>(v.size()), n_rows * n_columns);
  return {v.data(), n_rows, n_columns};
}
template <class T>
ops::Rows<T> rows_of(std::vector<T>& v, std::int64_t n_rows, std::int64_t n_columns) {
  EXPECT_EQ(static_cast<std::int64_t>(v.size()), n_rows * n_columns);
  return {v.data(), n_rows, n_columns};
}

/// Each value within its tolerance of what is expected.
template <class T>
void expect_near(const std::vector<T>& found, const std::vector<double>& expected, const std::vector<double>& tolerance,
                 const char* what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t i = 0; i < found.size(); ++i) {
    // NaN is near nothing.
    ASSERT_TRUE(std::abs(value_of(found[i]) - expected[i]) <= tolerance[i])
        << what << " " << i << ": " << value_of(found[i]) << ", expected " << expected[i] << " +- " << tolerance[i];
  }
}

/// The distance of all values together, relative to the norm of what is expected.
template <class T>
double distance(const std::vector<T>& found, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    difference += std::pow(value_of(found[i]) - expected[i], 2);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / (norm > 0 ? norm : 1));
}

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Runs `work(compute)`, which returns what an operator wrote as bytes, on 1, 2, 3 and 5 threads and, where results are
/// equal on all instruction sets, with the scalar twin; they must all be the same.
inline void expect_same_bits(Isa isa, const std::function<std::vector<std::byte>(ops::Compute&)>& work) {
  std::vector<std::byte> first;
  for (const int threads : {1, 2, 3, 5}) {
    if (slow_machine && threads > 1 && threads != 3) continue;
    ops::TeamWorkers workers(threads);
    ops::Compute compute(workers, isa);
    const std::vector<std::byte> found = work(compute);
    if (threads == 2) {
      EXPECT_TRUE(same_bytes(found, work(compute))) << "a second time";
    }
    if (threads == 1) first = found;
    EXPECT_TRUE(same_bytes(found, first)) << threads << " threads";
  }
  ops::TeamWorkers one(1);
  ops::Compute scalar(one, Isa::scalar);
  EXPECT_TRUE(same_bytes(work(scalar), first)) << "the scalar twin";
}

template <class T>
void append(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  const auto* data = reinterpret_cast<const std::byte*>(values.data());
  bytes.insert(bytes.end(), data, data + values.size() * sizeof(T));
}

class TrainOps : public ::testing::TestWithParam<Isa> {
 protected:
  ops::TeamWorkers workers_{2};
  ops::Compute compute_{workers_, GetParam()};
  Random random_{41};
};

}  // namespace moebox::test

/// One suite for each file's fixture, for every instruction set that runs here.
#define MOEBOX_FOR_ALL_ISAS(suite)                                                                                 \
  INSTANTIATE_TEST_SUITE_P(                                                                                        \
      Isas, suite,                                                                                                 \
      ::testing::ValuesIn(moebox::train_ops::available_isas().begin(), moebox::train_ops::available_isas().end()), \
      moebox::test::isa_name)

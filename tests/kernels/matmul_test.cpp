#include <limits>
#include <tuple>

#include <gtest/gtest.h>

#include "kernel_cases.h"

namespace moebox::test {
namespace {

using Case = std::tuple<Isa, DType>;

class Matmul : public ::testing::TestWithParam<Case> {
 protected:
  const KernelTable& table_ = kernel_table(std::get<0>(GetParam()));
  const DType dtype_ = std::get<1>(GetParam());

  // out (n_tokens, n_rows) with rows `padding` floats longer than needed.
  std::vector<float> product(const KernelTable& table, const PackedMatrix& matrix, const float* x, int n_tokens,
                             int padding = 0) {
    const ActivationType type = activation_type(matrix.dtype);
    AlignedBytes activations(activation_bytes(type, n_tokens, matrix.n_columns));
    table.quantize(type, x, matrix.n_columns, n_tokens, matrix.n_columns, 0, n_tokens, activations.data());
    const int stride = matrix.n_rows + padding;
    std::vector<float> out(static_cast<std::size_t>(n_tokens * stride), -1e30f);
    table.matmul(matrix, activations.data(), n_tokens, 0, matrix.n_panels(), out.data(), stride);
    return out;
  }
};

// Activations as quantize() defines them, in plain doubles: an independent statement of the definition.
struct RoundedToken {
  std::vector<double> value;
  std::vector<double> step;  // of each column; 0 for f32 activations
};

RoundedToken rounded(ActivationType type, const float* x, int n) {
  RoundedToken token{std::vector<double>(x, x + n), std::vector<double>(static_cast<std::size_t>(n))};
  if (type == ActivationType::f32) return token;
  const int block = type == ActivationType::int8_block32 ? 32 : 256;
  for (int first = 0; first < n; first += block) {
    float amax = 0;
    for (int i = first; i < first + block; ++i) amax = std::max(amax, std::abs(x[i]));
    const float scale = amax / 127.0f, inverse = amax == 0 ? 0 : 127.0f / amax;
    for (int i = first; i < first + block; ++i) {
      token.value[static_cast<std::size_t>(i)] = static_cast<double>(scale) * std::nearbyint(x[i] * inverse);
      token.step[static_cast<std::size_t>(i)] = scale;
    }
  }
  return token;
}

// Against a float64 product of the dequantised weights and the same rounded activations. What may differ is float32
// rounding: with u = 2^-24, each of the n steps (one or two an accumulation block) rounds the running sum, and each
// term carries the roundings of weight scale x activation scale, of an integer of more than 24 bits, and of
// dequantize_row's own float32 products: at most (n + 6) u times the sum of the absolute values of what is added. A
// term scale * q + minimum may cancel inside a weight, so these are bounded by the block's largest |weight|, three
// times over, rather than by |weight|.
TEST_P(Matmul, AgreesWithFloat64) {
  constexpr int n_rows = 70, n_columns = 1024, n_tokens = 3;
  const StoredMatrix stored(dtype_, n_rows, n_columns, 11);
  const Packed packed(stored);
  Random random(12);
  const std::vector<float> x = gaussians(random, n_tokens * n_columns);
  const std::vector<float> out = product(table_, packed.matrix, x.data(), n_tokens);
  const ActivationType type = activation_type(dtype_);
  const int n_steps = type == ActivationType::f32 ? n_columns : 2 * n_columns / 32;
  for (int t = 0; t < n_tokens; ++t) {
    const RoundedToken token = rounded(type, x.data() + t * n_columns, n_columns);
    for (int row = 0; row < n_rows; ++row) {
      const std::vector<float> w = stored.row(row);
      double sum = 0, size = 0;
      for (std::size_t first = 0; first < w.size(); first += 32) {
        double largest = 0, a = 0;
        for (std::size_t k = first; k < first + 32; ++k) {
          sum += static_cast<double>(w[k]) * token.value[k];
          largest = std::max(largest, std::abs(static_cast<double>(w[k])));
          a += std::abs(token.value[k]);
        }
        size += 3 * largest * a;
      }
      const double tolerance = (n_steps + 6) * 0x1p-24 * size;
      ASSERT_NEAR(out[static_cast<std::size_t>(t * n_rows + row)], sum, tolerance) << "token " << t << " row " << row;
    }
  }
}

// Against float64 without rounding the activations: each int8 is off by at most half a step, so the result by at most
// sum |w| * step / 2; independent errors of variance step^2 / 12 give a standard deviation of sqrt(sum w^2 step^2 /
// 12), and of 210 outputs none should be 6 of these away.
TEST_P(Matmul, ActivationErrorIsWithinBudget) {
  const ActivationType type = activation_type(dtype_);
  if (type == ActivationType::f32) return;  // not rounded: nothing to bound
  constexpr int n_rows = 70, n_columns = 1024, n_tokens = 3;
  const StoredMatrix stored(dtype_, n_rows, n_columns, 13);
  const Packed packed(stored);
  Random random(14);
  std::vector<float> x(n_tokens * n_columns);
  for (float& v : x) v = random.gaussian();
  const std::vector<float> out = product(table_, packed.matrix, x.data(), n_tokens);
  for (int t = 0; t < n_tokens; ++t) {
    const RoundedToken token = rounded(type, x.data() + t * n_columns, n_columns);
    for (int row = 0; row < n_rows; ++row) {
      const std::vector<float> w = stored.row(row);
      double sum = 0, variance = 0;
      for (std::size_t k = 0; k < w.size(); ++k) {
        sum += static_cast<double>(w[k]) * static_cast<double>(x[static_cast<std::size_t>(t) * n_columns + k]);
        variance += static_cast<double>(w[k]) * w[k] * token.step[k] * token.step[k] / 12;
      }
      ASSERT_NEAR(out[static_cast<std::size_t>(t * n_rows + row)], sum, 6 * std::sqrt(variance) + 1e-5);
    }
  }
}

TEST_P(Matmul, ATokensBitsDoNotDependOnTheBatch) {
  constexpr int n_rows = 96, n_columns = 768, max_tokens = 512;
  const StoredMatrix stored(dtype_, n_rows, n_columns, 15);
  const Packed packed(stored);
  Random random(16);
  const std::vector<float> x = gaussians(random, max_tokens * n_columns);
  const bool slow = table_.isa == Isa::scalar;
  std::vector<float> alone(max_tokens * n_rows);
  for (int t = 0; t < max_tokens; ++t) {
    if (slow && t % 16 > 2) continue;
    const std::vector<float> out = product(table_, packed.matrix, x.data() + t * n_columns, 1);
    std::copy(out.begin(), out.end(), alone.begin() + t * n_rows);
  }
  for (const int n_tokens : {1, 2, 3, 5, 8, 32, 127, 130, 512}) {
    if (slow && n_tokens == 512) continue;
    const std::vector<float> out = product(table_, packed.matrix, x.data(), n_tokens);
    for (int t = 0; t < n_tokens; ++t) {
      if (slow && t % 16 > 2) continue;
      ASSERT_EQ(std::memcmp(&out[static_cast<std::size_t>(t * n_rows)], &alone[static_cast<std::size_t>(t * n_rows)],
                            n_rows * sizeof(float)),
                0)
          << "token " << t << " of " << n_tokens;
    }
  }
}

TEST_P(Matmul, EqualsScalarBitForBit) {
  for (const int n_tokens : {1, 7, 33}) {
    const StoredMatrix stored(dtype_, 45, 1280, 17);
    const Packed packed(stored);
    Random random(18);
    const std::vector<float> x = gaussians(random, static_cast<std::size_t>(n_tokens) * 1280);
    EXPECT_TRUE(same_bits(product(table_, packed.matrix, x.data(), n_tokens),
                          product(kernel_table(Isa::scalar), packed.matrix, x.data(), n_tokens)));
  }
}

TEST_P(Matmul, RangesOfPanelsWriteTheirRowsOnly) {
  constexpr int n_rows = 150, n_columns = 256, n_tokens = 6, stride = 170;
  const StoredMatrix stored(dtype_, n_rows, n_columns, 19);
  const Packed packed(stored);
  Random random(20);
  const std::vector<float> x = gaussians(random, n_tokens * n_columns);
  const std::vector<float> whole = product(table_, packed.matrix, x.data(), n_tokens, stride - n_rows);
  const ActivationType type = activation_type(dtype_);
  AlignedBytes activations(activation_bytes(type, n_tokens, n_columns));
  table_.quantize(type, x.data(), n_columns, n_tokens, n_columns, 0, n_tokens, activations.data());
  for (const auto& [first, last] : {std::pair{0, 1}, {1, 3}, {2, 5}, {4, 5}, {3, 3}}) {
    std::vector<float> part(n_tokens * stride, -1e30f);
    table_.matmul(packed.matrix, activations.data(), n_tokens, first, last, part.data(), stride);
    for (int t = 0; t < n_tokens; ++t) {
      for (int row = 0; row < stride; ++row) {
        const bool mine = row >= 32 * first && row < 32 * last && row < n_rows;
        const auto i = static_cast<std::size_t>(t * stride + row);
        ASSERT_EQ(part[i], mine ? whole[i] : -1e30f) << "panels " << first << " to " << last << ", row " << row;
      }
    }
  }
}

TEST_P(Matmul, TheLargestIntegersDoNotOverflow) {
  // Every stored bit set and every activation at +-127: the largest products that the format can make.
  constexpr int n_columns = 512;
  StoredMatrix stored(dtype_, 32, n_columns, 21);
  if (activation_type(dtype_) == ActivationType::f32) return;  // has no integers
  const DTypeInfo& i = info(dtype_);
  for (std::size_t at = 1; at < stored.bytes.size(); at += static_cast<std::size_t>(i.block_bytes)) {
    const bool zeros = at % 2 == 0;
    std::vector<std::byte> kept(stored.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                stored.bytes.begin() + static_cast<std::ptrdiff_t>(at) + i.block_bytes);
    std::memset(&stored.bytes[at], zeros ? 0 : 0xff, static_cast<std::size_t>(i.block_bytes));
    const auto keep = [&](int offset, int n) {
      std::memcpy(&stored.bytes[at + static_cast<std::size_t>(offset)], &kept[static_cast<std::size_t>(offset)],
                  static_cast<std::size_t>(n));
    };
    if (dtype_ == DType::q2_k)
      keep(80, 4);
    else if (dtype_ == DType::q3_k)
      keep(108, 2);
    else if (dtype_ == DType::q6_k)
      keep(208, 2);
    else if (dtype_ == DType::q4_k || dtype_ == DType::q5_k || dtype_ == DType::q4_1 || dtype_ == DType::q5_1)
      keep(0, 4);
    else if (dtype_ == DType::mxfp4)
      keep(0, 1);
    else
      keep(0, 2);
    if (dtype_ == DType::q8_0 || dtype_ == DType::q6_k) {  // the most negative number, too
      for (int j = 0; j < (dtype_ == DType::q8_0 ? 32 : 16); ++j) {
        stored.bytes[at + static_cast<std::size_t>((dtype_ == DType::q8_0 ? 2 : 192) + j)] = std::byte{0x80};
      }
    }
  }
  const Packed packed(stored);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(2 * n_columns, sign);
    const std::vector<float> out = product(table_, packed.matrix, x.data(), 2);
    for (int row = 0; row < 32; ++row) {
      double sum = 0, size = 0;
      for (const float w : stored.row(row)) {
        sum += static_cast<double>(w) * static_cast<double>(sign);
        size += std::abs(static_cast<double>(w));
      }
      // 1 is held as 127 * (1 / 127), which is off by up to 2^-24 twice; then as in AgreesWithFloat64.
      ASSERT_NEAR(out[static_cast<std::size_t>(row)], sum, (32 + 8) * 0x1p-24 * 3 * size) << "row " << row;
    }
  }
}

TEST_P(Matmul, NonFiniteActivationsGiveNaN) {
  const StoredMatrix stored(dtype_, 32, 512, 22);
  const Packed packed(stored);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const int n_tokens : {1, 4}) {
      std::vector<float> x(static_cast<std::size_t>(n_tokens) * 512, 0.5f);
      x[300] = bad;
      const std::vector<float> out = product(table_, packed.matrix, x.data(), n_tokens);
      EXPECT_TRUE(same_bits(out, product(kernel_table(Isa::scalar), packed.matrix, x.data(), n_tokens)));
      EXPECT_FALSE(std::isfinite(out[0]));
      if (n_tokens > 1) {
        EXPECT_TRUE(std::isfinite(out[32]));
      }
    }
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Isa isa : available_isas()) {
    for (const DType dtype : all_dtypes) cases.emplace_back(isa, dtype);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, Matmul, ::testing::ValuesIn(all_cases()), [](const auto& info) {
  return std::string(name(std::get<0>(info.param))) + "_" + std::string(name(std::get<1>(info.param)));
});

}  // namespace
}  // namespace moebox::test

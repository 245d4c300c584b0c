// Every block format written and read back: errors bounded by the format's step, and not above those of ggml's own
// quantiser on the same numbers (the bounds were measured with it; see the table).
#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/dequantize.h"

namespace moebox::test {
namespace {

struct BlockFormat {
  const char* name;
  double ggml_error;  // relative RMS of ggml's quantiser (of llama-cpp-python 0.3.36) on 2^20 normal numbers
  float steps;        // between the least and the largest value of a block
};

constexpr BlockFormat block_formats[] = {
    {"q8_0", 0.00535, 254}, {"q6_k", 0.01778, 63}, {"q5_k", 0.03613, 31}, {"q5_1", 0.03785, 31},
    {"q5_0", 0.04270, 31},  {"q4_k", 0.07137, 15}, {"q4_1", 0.07826, 15}, {"q4_0", 0.08600, 15},
    {"iq4_nl", 0.07618, 9}, {"mxfp4", 0.11407, 5}, {"q3_k", 0.15098, 7},  {"q2_k", 0.29670, 3},
};

std::vector<float> normal_numbers(std::size_t n, float scale, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> there_and_back(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> row(row_bytes(dtype, values.size()));
  quantize_row(dtype, values.data(), row.data(), values.size());
  std::vector<float> again(values.size());
  dequantize_row(dtype, row.data(), again.data(), again.size());
  return again;
}

double relative_error(const std::vector<float>& values, const std::vector<float>& again) {
  double error = 0, squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double value = values[i], difference = value - static_cast<double>(again[i]);
    error += difference * difference;
    squares += value * value;
  }
  return std::sqrt(error / squares);
}

class Quantize : public testing::TestWithParam<BlockFormat> {
 protected:
  DType dtype() const { return *dtype_from_name(GetParam().name); }
};

TEST_P(Quantize, ErrsNoMoreThanGgml) {
  const std::vector<float> values = normal_numbers(1 << 16, 0.02f);
  const double error = relative_error(values, there_and_back(dtype(), values));
  EXPECT_LT(error, 1.02 * GetParam().ggml_error);
  EXPECT_GT(error, 0.7 * GetParam().ggml_error) << "better than the format can be";
}

TEST_P(Quantize, NoValueIsFartherThanAStepOfItsBlock) {
  const std::vector<float> values = normal_numbers(1 << 14, 3.0f, 2), again = there_and_back(dtype(), values);
  const auto width = static_cast<std::size_t>(info(dtype()).block_elements);
  for (std::size_t start = 0; start < values.size(); start += width) {
    float largest = 0;
    for (std::size_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(values[start + i]));
    // Twice the largest magnitude is the range; the search may clip the ends by a part of a step.
    const float step = 2 * largest / GetParam().steps;
    for (std::size_t i = start; i < start + width; ++i) ASSERT_LE(std::abs(values[i] - again[i]), 1.05f * step) << i;
  }
}

TEST_P(Quantize, WritesTheSameBytesAgain) {
  const std::vector<float> values = normal_numbers(2048, 1.0f, 3);
  std::vector<std::byte> one(row_bytes(dtype(), values.size()) + 1), two(one.size());
  quantize_row(dtype(), values.data(), one.data(), values.size());
  quantize_row(dtype(), values.data(), two.data() + 1, values.size());
  EXPECT_TRUE(std::equal(one.begin(), one.end() - 1, two.begin() + 1)) << "at another address";
}

TEST_P(Quantize, ZerosStayZeros) {
  for (const float value : there_and_back(dtype(), std::vector<float>(512))) ASSERT_EQ(value, 0.0f);
}

// Numbers of every magnitude that a float has give finite blocks, and large ones no infinities.
TEST_P(Quantize, SurvivesExtremes) {
  for (const float scale : {1e-44f, 1e-38f, 1e-20f, 1e-7f, 1e4f, 1e12f, 1e37f}) {
    std::vector<float> values = normal_numbers(512, 1.0f, 4);
    for (float& value : values) value = std::clamp(value, -3.0f, 3.0f) * scale;
    for (const float value : there_and_back(dtype(), values)) ASSERT_TRUE(std::isfinite(value)) << scale;
  }
  std::vector<float> spike(512);
  spike[7] = -1.0f;
  const std::vector<float> again = there_and_back(dtype(), spike);
  EXPECT_NEAR(again[7], -1.0f, 0.02f);
  EXPECT_EQ(again[300], 0.0f);
}

INSTANTIATE_TEST_SUITE_P(BlockFormats, Quantize, testing::ValuesIn(block_formats),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(QuantizePlain, FloatsAreRoundedToTheNearest) {
  const std::vector<float> values = {0.0f, -1.5f, 1.0f / 3.0f, 65504.0f, 1e-8f};
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const std::vector<float> again = there_and_back(dtype, values);
    const float part = dtype == DType::f32 ? 0.0f : dtype == DType::f16 ? 0x1p-11f : 0x1p-8f;
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_LE(std::abs(again[i] - values[i]),
                std::max(std::abs(values[i]) * part, dtype == DType::f32 ? 0.0f : 0x1p-25f));
  }
}

}  // namespace
}  // namespace moebox::test

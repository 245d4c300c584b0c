// Every block format against the values of the `gguf` package: golden/tensor, made by its generate.py.
#include "tensor/dequantize.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tensor/quant/mxfp4.h"

namespace moebox {
namespace {

std::vector<char> read(const std::string& name) {
  std::ifstream file(MOEBOX_TEST_DIR "/golden/tensor/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

class Dequantize : public testing::TestWithParam<const char*> {};

TEST_P(Dequantize, EqualsTheReferenceBitForBitAtAnyAddress) {
  const std::string type = GetParam();
  const auto dtype = dtype_from_name(type);
  ASSERT_TRUE(dtype);
  const std::vector<char> stored = read(type + ".blocks");
  const std::vector<char> floats = read(type + ".floats");
  const std::size_t n_elements = floats.size() / sizeof(float);
  ASSERT_GT(n_elements, 0u);
  ASSERT_EQ(stored.size(), row_bytes(*dtype, n_elements));
  std::vector<float> expected(n_elements);
  std::memcpy(expected.data(), floats.data(), floats.size());

  for (std::size_t offset = 0; offset < 4; ++offset) {
    std::vector<std::byte> row(stored.size() + offset);
    std::memcpy(row.data() + offset, stored.data(), stored.size());
    std::vector<float> found(n_elements, -1.0f);
    dequantize_row(*dtype, row.data() + offset, found.data(), n_elements);
    for (std::size_t i = 0; i < n_elements; ++i) {
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(found[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(found[i]), std::bit_cast<std::uint32_t>(expected[i]))
            << "element " << i << ": " << found[i] << " instead of " << expected[i];
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, Dequantize,
                         testing::Values("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k",
                                         "q4_k", "q5_k", "q6_k", "iq4_nl", "mxfp4"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(DequantizeMXFP4, ScalesArePowersOfTwo) {
  for (int exponent = 0; exponent < 256; ++exponent) {
    EXPECT_EQ(mxfp4_half_scale(static_cast<std::uint8_t>(exponent)), std::ldexp(1.0f, exponent - 128)) << exponent;
  }
}

}  // namespace
}  // namespace moebox

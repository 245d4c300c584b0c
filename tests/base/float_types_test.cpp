#include "base/float_types.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

namespace moebox {
namespace {

// The compiler's own type is the independent reference.
#if defined(__aarch64__)
using CompilerHalf = __fp16;
#else
using CompilerHalf = _Float16;
#endif

TEST(FloatTypes, EveryHalfConvertsAsTheCompilersTypeDoes) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    CompilerHalf reference;
    std::memcpy(&reference, &half, sizeof reference);
    const float expected = static_cast<float>(reference);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(to_float(half)));
      EXPECT_TRUE(std::isnan(to_float(to_half(expected))));
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(to_float(half)), std::bit_cast<std::uint32_t>(expected)) << bits;
      EXPECT_EQ(to_half(expected).bits, half.bits) << bits;
    }
  }
}

TEST(FloatTypes, FloatsRoundToHalfAsTheCompilersTypeDoes) {
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 4099) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isnan(value)) continue;
    const CompilerHalf reference = static_cast<CompilerHalf>(value);
    std::uint16_t expected;
    std::memcpy(&expected, &reference, sizeof expected);
    ASSERT_EQ(to_half(value).bits, expected) << value;
  }
}

TEST(FloatTypes, BFloat16RoundsToTheNearestEven) {
  EXPECT_EQ(to_bfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // halfway, to even
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);
  EXPECT_TRUE(std::isinf(to_float(to_bfloat16(3.4e38f))));
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::nanf("")))));
}

}  // namespace
}  // namespace moebox

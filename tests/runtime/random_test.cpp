#include "runtime/random.h"

#include <set>

#include <gtest/gtest.h>

namespace moebox {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The known answers that the authors of Philox publish with Random123 (kat_vectors, philox4x32 of 10 rounds).
TEST(Random, PhiloxGivesThePublishedAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, UniformFillsTheUnitIntervalAndDependsOnEveryArgument) {
  double sum = 0;
  for (std::uint32_t position = 0; position < 10000; ++position) {
    const double u = uniform(42, 0, position);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.012);  // four standard deviations of the mean
  const std::set<double> values{uniform(1, 0, 0), uniform(2, 0, 0), uniform(1, 1, 0), uniform(1, 0, 1),
                                uniform(1ull << 32, 0, 0)};
  EXPECT_EQ(values.size(), 5u);
}

TEST(Random, FreshSeedsDiffer) { EXPECT_NE(fresh_seed(), fresh_seed()); }

}  // namespace
}  // namespace moebox

#include "runtime/expert_load.h"

#include <cmath>

#include <gtest/gtest.h>

namespace moebox {
namespace {

TEST(ExpertLoad, TellsEvenFromUneven) {
  ExpertLoadCounter counter(4, 4);
  for (int expert = 0; expert < 4; ++expert) {
    for (int i = 0; i < 5; ++i) counter.add(0, expert);
  }
  for (int i = 0; i < 7; ++i) counter.add(1, 2);
  for (const int expert : {0, 0, 0, 3}) counter.add(2, expert);
  const std::vector<ExpertLoad> loads = counter.read();
  ASSERT_EQ(loads.size(), 4u);
  EXPECT_EQ(loads[0].n_chosen, 20u);
  EXPECT_EQ(loads[0].max_over_mean, 1);
  EXPECT_NEAR(loads[0].entropy, 1, 1e-12);
  EXPECT_EQ(loads[1].max_over_mean, 4);
  EXPECT_EQ(loads[1].entropy, 0);
  EXPECT_EQ(loads[2].max_over_mean, 3);
  EXPECT_NEAR(loads[2].entropy, (0.75 * std::log2(4.0 / 3) + 0.25 * 2) / 2, 1e-12);
  EXPECT_EQ(loads[3].n_chosen, 0u);
  EXPECT_TRUE(ExpertLoadCounter(0, 0).read().empty());
}

}  // namespace
}  // namespace moebox

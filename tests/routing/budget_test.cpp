// Budgets alone: which are refused, and how many experts they keep.
#include "routing/budget.h"

#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebox {
namespace {

void expect_budget_refused(const RoutingBudget& budget, const char* field) {
  try {
    budget.validate(8);
    FAIL() << "accepted " << field;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_EQ(error.where(), std::string("moe.") + field);
  }
}

TEST(RoutingBudget, ValuesOutOfRangeAreRefusedByName) {
  const float nan_value = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NO_THROW(RoutingBudget{}.validate(8));
  EXPECT_NO_THROW((RoutingBudget{0.7f, 0.1f, 1, 8}.validate(8)));
  for (const float top_p : {0.0f, -0.5f, 1.5f, nan_value}) expect_budget_refused({top_p, 0, 1, 0}, "top_p");
  for (const float threshold : {-0.1f, 1.0f, nan_value}) expect_budget_refused({1, threshold, 1, 0}, "threshold");
  for (const int least : {0, -1, 9}) expect_budget_refused({1, 0, least, 0}, "min_experts");
  for (const int most : {-1, 9}) expect_budget_refused({1, 0, 1, most}, "max_experts");
  expect_budget_refused({1, 0, 4, 3}, "max_experts");
}

TEST(RoutingBudget, KeepsAPrefix) {
  const std::vector<float> weights = {0.5f, 0.25f, 0.125f, 0.125f};
  EXPECT_EQ(kept_experts({}, weights), 4);
  EXPECT_EQ(kept_experts({0.5f, 0, 1, 0}, weights), 1);  // reached exactly
  EXPECT_EQ(kept_experts({0.51f, 0, 1, 0}, weights), 2);
  EXPECT_EQ(kept_experts({0.76f, 0, 1, 0}, weights), 3);
  EXPECT_EQ(kept_experts({0.5f, 0, 3, 0}, weights), 3);   // at least min_experts
  EXPECT_EQ(kept_experts({0.99f, 0, 1, 2}, weights), 2);  // at most max_experts
  EXPECT_EQ(kept_experts({1, 0.3f, 1, 0}, weights), 2);
  EXPECT_EQ(kept_experts({1, 0, 1, 9}, weights), 4);
}

TEST(RoutingBudget, OddWeightsKeepAtLeastOne) {
  const float nan_value = std::numeric_limits<float>::quiet_NaN();
  for (const float weight : {0.0f, nan_value, std::numeric_limits<float>::infinity()}) {
    const std::vector<float> weights(4, weight);
    const int kept = kept_experts({0.5f, 0.5f, 1, 0}, weights);
    EXPECT_GE(kept, 1);
    EXPECT_LE(kept, 4);
  }
}

}  // namespace
}  // namespace moebox

#include "base/team_pace.h"

#include <gtest/gtest.h>

namespace moebox {
namespace {

/// Runs of 5 ms each on a machine where `share(members)` of the time is computing; how many members run at the end.
template <class Share>
int after(TeamPace& pace, double seconds, Share share) {
  for (double run = 0; run < seconds; run += 0.005) pace.ran(0.005, 0.005 * share(pace.members()));
  return pace.members();
}

TEST(TeamPace, AllMembersOnAnIdleMachine) {
  TeamPace pace(8);
  for (double seconds = 0; seconds < 60; seconds += 0.1) ASSERT_EQ(after(pace, 0.1, [](int) { return 0.9; }), 8);
}

TEST(TeamPace, ATeamThatComputesMoreThanHalfOfItsTimeStays) {
  TeamPace pace(2);
  ASSERT_EQ(after(pace, 60, [](int members) { return members == 2 ? 0.51 : 1.0; }), 2);
}

TEST(TeamPace, FewerWhereMembersWaitForEachOther) {
  TeamPace pace(2);
  EXPECT_EQ(after(pace, 0.2, [](int members) { return members == 2 ? 0.1 : 0.5; }), 1);
  // Two are tried out again now and then, and cost little.
  double two = 0;
  for (double seconds = 0; seconds < 60; seconds += 0.005) {
    two += pace.members() == 2 ? 0.005 : 0;
    after(pace, 0.005, [](int members) { return members == 2 ? 0.1 : 0.5; });
  }
  EXPECT_GT(two, 0.0);
  EXPECT_LT(two, 60 * 0.1);
}

TEST(TeamPace, OtherWorkBeginsWithAllMembers) {
  TeamPace pace(2);
  EXPECT_EQ(after(pace, 0.2, [](int members) { return members == 2 ? 0.3 : 1.0; }), 1);
  pace.forget();
  EXPECT_EQ(pace.members(), 2);
  EXPECT_EQ(after(pace, 0.2, [](int) { return 0.9; }), 2);
}

TEST(TeamPace, AllAgainWhenTheMachineIsFree) {
  TeamPace pace(8);
  ASSERT_EQ(after(pace, 5, [](int members) { return members > 2 ? 0.01 : 0.8; }), 2);
  EXPECT_EQ(after(pace, 10, [](int) { return 0.95; }), 8);
}

TEST(TeamPace, FewerOnlyWhereThatIsFaster) {
  TeamPace pace(2);
  double one = 0;
  for (double seconds = 0; seconds < 60; seconds += 0.005) {
    one += pace.members() == 1 ? 0.005 : 0;
    after(pace, 0.005, [](int members) { return members == 2 ? 0.4 : 0.3; });
  }
  EXPECT_LT(one, 60 * 0.2);
}

TEST(TeamPace, OneIsOne) {
  TeamPace pace(1);
  EXPECT_EQ(after(pace, 5, [](int) { return 0.1; }), 1);
}

}  // namespace
}  // namespace moebox

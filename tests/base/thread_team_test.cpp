#include "base/thread_team.h"

#include <vector>

#include <gtest/gtest.h>

namespace moebox {
namespace {

TEST(ThreadTeam, EveryMemberRunsAndPartsCoverAllItemsOnce) {
  for (const int size : {1, 2, 3, 7}) {
    ThreadTeam team(size);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> touched(101, 0);
      team.run([&](const TeamMember& member) {
        const auto part = member.part(101);
        for (int i = part.first; i < part.last; ++i) touched[static_cast<std::size_t>(i)]++;
      });
      for (const int count : touched) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadTeam, WritesBeforeABarrierAreSeenAfterIt) {
  ThreadTeam team(4);
  std::vector<int> value(4, 0);
  bool torn = false;
  team.run([&](const TeamMember& member) {
    for (int round = 1; round <= 2000; ++round) {
      value[static_cast<std::size_t>(member.index)] = round;
      member.wait();
      const int next = value[static_cast<std::size_t>((member.index + 1) % 4)];
      if (next != round) torn = true;
      member.wait();
    }
  });
  EXPECT_FALSE(torn);
}

}  // namespace
}  // namespace moebox

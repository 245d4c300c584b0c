#include "base/thread_team.h"

#include <chrono>
#include <thread>
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

/// How many of ten runs had both members, when each waits 50 ms for something else and tells so or not.
int full_runs(bool tells) {
  using Clock = std::chrono::steady_clock;
  ThreadTeam team(2);
  int full = 0;
  for (int run = 0; run < 10; ++run)
    team.run([&](const TeamMember& member) {
      if (member.index != 0) return;
      if (member.size == 2) ++full;
      const auto begin = Clock::now();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (tells) member.waited_outside(std::chrono::duration<double>(Clock::now() - begin).count());
    });
  return full;
}

TEST(ThreadTeam, WaitingForADiskIsNoReasonForFewerMembers) {
  EXPECT_GE(full_runs(true), 9);
  EXPECT_LT(full_runs(false), 10);
}

}  // namespace
}  // namespace moebox

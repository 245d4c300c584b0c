#include "models/panel_units.h"

#include <set>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace moebox {
namespace {

constexpr int nodes_of_four[] = {0, 0, 1, 1};

std::vector<PanelUnit> taken_by(PanelUnits& units, int node) {
  std::vector<PanelUnit> taken;
  while (const PanelUnit* unit = units.take(node)) taken.push_back(*unit);
  return taken;
}

TEST(PanelUnits, APanelBelongsToTheNodeOfTheMemberThatPackedIt) {
  for (const int n_panels : {1, 2, 3, 4, 7, 64, 65}) {
    for (int index = 0; index < 4; ++index) {
      const TeamMember member(index, 4, nullptr, nodes_of_four);
      const auto part = member.part(n_panels);
      for (int panel = part.first; panel < part.last; ++panel)
        EXPECT_EQ(member.node_of(panel, n_panels), member.node()) << panel << " of " << n_panels;
    }
  }
}

TEST(PanelUnits, OwnNodeFirstThenTheOthers) {
  PanelUnits units(64, 4);
  units.clear();
  const TeamMember member(0, 4, nullptr, nodes_of_four);
  units.add(member, 0, 8, 2);
  units.add(member, 1, 5, 1);
  const std::vector<PanelUnit> taken = taken_by(units, 1);
  ASSERT_EQ(taken.size(), 9u);
  // Of 8 panels the last 4 are node 1's; of 5 the members have 1, 1, 1 and 2.
  for (std::size_t u = 0; u < taken.size(); ++u)
    EXPECT_EQ(taken[u].first_panel >= (taken[u].group == 0 ? 4 : 2), u < 5) << u;
  EXPECT_EQ(units.take(0), nullptr);
  EXPECT_EQ(units.take(1), nullptr);
}

TEST(PanelUnits, OneNodeTakesThemInOrder) {
  PanelUnits units(8, 2);
  const TeamMember member(1, 2, nullptr);
  units.add(member, 0, 7, 3);
  const std::vector<PanelUnit> taken = taken_by(units, member.node());
  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[1].first_panel, 3);
  EXPECT_EQ(taken[2].n_panels, 1);
}

TEST(PanelUnits, ManyTakeEachUnitOnce) {
  PanelUnits units(1000, 4);
  std::vector<std::vector<PanelUnit>> taken(4);
  for (int round = 0; round < 20; ++round) {
    units.clear();
    const TeamMember filler(0, 4, nullptr, nodes_of_four);
    for (int group = 0; group < 10; ++group) units.add(filler, group, 97, 1);
    std::vector<std::thread> threads;
    for (int index = 0; index < 4; ++index)
      threads.emplace_back([&, index] {
        taken[static_cast<std::size_t>(index)] = taken_by(units, TeamMember(index, 4, nullptr, nodes_of_four).node());
      });
    for (std::thread& thread : threads) thread.join();
    std::set<std::tuple<int, int>> seen;
    for (const std::vector<PanelUnit>& own : taken)
      for (const PanelUnit& unit : own) EXPECT_TRUE(seen.emplace(unit.group, unit.first_panel).second);
    EXPECT_EQ(seen.size(), 970u);
  }
}

}  // namespace
}  // namespace moebox

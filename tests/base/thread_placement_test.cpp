#include "base/thread_placement.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

namespace moebox {
namespace {

namespace fs = std::filesystem;

/// A description of processors as Linux gives it.
class ThreadPlacementOrder : public ::testing::Test {
 protected:
  ThreadPlacementOrder() : system_(fs::path(::testing::TempDir()) / ("placement_" + std::to_string(::getpid()))) {
    CPU_ZERO(&processors_);
  }
  ~ThreadPlacementOrder() override { fs::remove_all(system_); }

  void add(int number, const std::string& siblings, int node) {
    CPU_SET(number, &processors_);
    const fs::path folder = system_ / "cpu" / ("cpu" + std::to_string(number));
    fs::create_directories(folder / "topology");
    std::ofstream(folder / "topology" / "thread_siblings_list") << siblings << "\n";
    if (node >= 0) fs::create_directories(folder / ("node" + std::to_string(node)));
  }

  static std::vector<int> numbers(const std::vector<PlacedProcessor>& order) {
    std::vector<int> numbers;
    for (const PlacedProcessor& processor : order) numbers.push_back(processor.number);
    return numbers;
  }

  const fs::path system_;
  cpu_set_t processors_{};
};

TEST_F(ThreadPlacementOrder, NodesAreCountedWithoutGaps) {
  for (int number = 0; number < 6; ++number) add(number, std::to_string(number), number % 2 == 0 ? 7 : 3);
  const std::vector<PlacedProcessor> order = placement_order(processors_, system_);
  EXPECT_EQ(order, (std::vector<PlacedProcessor>{{1, 3}, {3, 3}, {5, 3}, {0, 7}, {2, 7}, {4, 7}}));
  EXPECT_EQ(nodes_of_members(order, 6), (std::vector{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(nodes_of_members(order, 4), (std::vector{0, 0, 0, 1}));
  EXPECT_EQ(nodes_of_members(order, 3), std::vector<int>());
}

TEST_F(ThreadPlacementOrder, NeighboursAreOnOneNodeWhereNumbersAlternate) {
  for (int number = 0; number < 8; ++number) add(number, std::to_string(number), number % 2);
  EXPECT_EQ(numbers(placement_order(processors_, system_)), (std::vector{0, 2, 4, 6, 1, 3, 5, 7}));
}

TEST_F(ThreadPlacementOrder, SecondThreadsOfCoresComeLast) {
  for (int number = 0; number < 8; ++number)
    add(number, std::to_string(number / 2 * 2) + "-" + std::to_string(number / 2 * 2 + 1), number / 4);
  EXPECT_EQ(numbers(placement_order(processors_, system_)), (std::vector{0, 2, 4, 6, 1, 3, 5, 7}));
  processors_ = {};
  for (int number = 0; number < 4; ++number) {
    add(number, std::to_string(number) + "," + std::to_string(number + 4), number / 2);
    add(number + 4, std::to_string(number) + "," + std::to_string(number + 4), number / 2);
  }
  EXPECT_EQ(numbers(placement_order(processors_, system_)), (std::vector{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_F(ThreadPlacementOrder, ProcessorsThatMayNotBeUsedAreLeftOut) {
  for (int number = 0; number < 4; ++number) add(number, std::to_string(number), 1 - number / 2);
  CPU_CLR(3, &processors_);
  EXPECT_EQ(numbers(placement_order(processors_, system_)), (std::vector{2, 0, 1}));
}

TEST_F(ThreadPlacementOrder, NothingToldIsOneNodeOfWholeCores) {
  for (const int number : {1, 3, 5}) CPU_SET(number, &processors_);
  EXPECT_EQ(numbers(placement_order(processors_, system_ / "not there")), (std::vector{1, 3, 5}));
  add(5, "", -1);
  add(1, "nonsense", -1);
  EXPECT_EQ(numbers(placement_order(processors_, system_)), (std::vector{1, 3, 5}));
}

}  // namespace
}  // namespace moebox

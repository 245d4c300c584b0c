// The two queues of byte-pair encoding are one: in whatever order candidates come and go, both give the same next one.
#include "tokenizer/merge_queue.h"

#include <chrono>
#include <random>

#include <gtest/gtest.h>

#include "speed.h"

namespace moebox {
namespace {

TEST(MergeQueue, ListsGiveWhatAHeapGives) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const std::uint32_t n_merges = 1 + below(20), n_places = 1 + below(200), pushes_of_eight = 1 + below(7);
    std::vector<MergeCandidate> storage;
    MergeHeap heap(storage);
    MergeLists lists;
    std::uint32_t place = 0;
    for (int step = 0; step < 2000; ++step) {
      if (below(8) < pushes_of_eight && step < 1500) {
        // Mostly from left to right, as a pass over a text does.
        place = below(4) == 0 ? below(n_places) : (place + 1) % n_places;
        const MergeCandidate candidate{below(n_merges), place};
        heap.push(candidate);
        lists.push(candidate);
      } else if (!heap.empty()) {
        ASSERT_FALSE(lists.empty());
        const MergeCandidate expected = heap.pop(), found = lists.pop();
        ASSERT_EQ(found.merge, expected.merge) << "seed " << seed << ", step " << step;
        ASSERT_EQ(found.at, expected.at) << "seed " << seed << ", step " << step;
      }
      ASSERT_EQ(lists.empty(), heap.empty());
    }
  }
}

// Every candidate comes in the worst order, between two looks: no list may be sorted over and over.
TEST(MergeQueue, OrdersThatAreMeantToBeSlowAreNot) {
  MergeLists lists;
  constexpr std::uint32_t n = test::slow_machine ? 20'000 : 200'000;
  for (std::uint32_t at = 0; at < n; ++at) lists.push({7, 2 * n - at});
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t at = 0; at < n; ++at) {
    lists.push({3, at});
    lists.push({7, n - at});
    EXPECT_EQ(lists.pop().merge, 3u);
    EXPECT_EQ(lists.pop().merge, 7u);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << "quadratic: minutes";
}

}  // namespace
}  // namespace moebox

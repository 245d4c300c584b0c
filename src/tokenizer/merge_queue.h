// Which merge of a piece comes next: the most important one, and of equal ones the leftmost. Two queues with one
// behaviour: a heap for pieces of ordinary length, and one list a merge for pieces of megabytes, where a heap misses
// the processor's caches at every level.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

namespace moebox {

/// A merge (rank << 32 | result) that symbol `at` and its right neighbour allow.
struct MergeCandidate {
  std::uint64_t merge;
  std::uint32_t at;
  bool operator>(const MergeCandidate& other) const noexcept {
    return merge != other.merge ? merge > other.merge : at > other.at;
  }
};

class MergeHeap {
 public:
  /// `storage` is emptied, and used so that it need not be allocated for every piece.
  explicit MergeHeap(std::vector<MergeCandidate>& storage) : heap_(storage) { heap_.clear(); }

  bool empty() const noexcept { return heap_.empty(); }
  void push(const MergeCandidate& candidate) {
    heap_.push_back(candidate);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  MergeCandidate pop() {
    const MergeCandidate best = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    return best;
  }

 private:
  std::vector<MergeCandidate>& heap_;
};

class MergeLists {
 public:
  bool empty() const noexcept { return merges_.empty() && late_.empty(); }

  void push(const MergeCandidate& candidate) {
    List& list = lists_[candidate.merge];
    const bool in_order = list.places.empty() || list.places.back() <= candidate.at;
    // A list is sorted once, when it starts: what comes later and out of order has a heap, or one could be made to sort
    // for ever.
    if (!in_order && list.started) return late_.push(candidate);
    if (list.places.empty()) merges_.push(candidate.merge);
    list.sorted &= in_order;
    list.places.push_back(candidate.at);
  }

  MergeCandidate pop() {
    if (merges_.empty() || (!late_.empty() && merges_.top() > late_.top().merge)) return pop_late();
    const std::uint64_t merge = merges_.top();
    List& list = lists_[merge];
    if (!list.sorted) std::sort(list.places.begin(), list.places.end());
    list.sorted = list.started = true;
    const MergeCandidate best{merge, list.places[list.n_taken]};
    if (!late_.empty() && best > late_.top()) return pop_late();
    if (++list.n_taken == list.places.size()) {
      merges_.pop();
      list = List();
    }
    return best;
  }

 private:
  struct List {
    std::vector<std::uint32_t> places;
    std::size_t n_taken = 0;
    bool sorted = true, started = false;
  };

  MergeCandidate pop_late() {
    const MergeCandidate best = late_.top();
    late_.pop();
    return best;
  }

  std::unordered_map<std::uint64_t, List> lists_;
  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> merges_;  // whose lists are not empty
  std::priority_queue<MergeCandidate, std::vector<MergeCandidate>, std::greater<>> late_;
};

}  // namespace moebox

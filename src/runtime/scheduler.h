// Which tokens of which sequences make the next step. It owns the sequences and their blocks; it computes nothing.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "runtime/block_pool.h"
#include "runtime/sequence.h"

namespace moebox {

/// The next `n_tokens` tokens of a sequence, from its n_computed on.
struct ScheduledSpan {
  Sequence* sequence;
  int n_tokens;
  bool reaches_end() const noexcept { return n_tokens == sequence->pending(); }
};

/// First come, first served. Decodes come first in a step, then prefills of running sequences, then new ones while
/// tokens and blocks last. When a decode finds no block, the youngest running sequence gives its blocks back and waits
/// in front: its tokens stay, and are computed again later with the same result. The oldest always gets on, so nothing
/// stalls.
class Scheduler {
 public:
  struct Limits {
    int max_batch_tokens, max_sequences;
  };
  Scheduler(BlockPool& pool, Limits limits) : pool_(pool), limits_(limits) {}

  void add(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }
  bool idle() const noexcept { return running_.empty() && waiting_.empty(); }
  int n_running() const noexcept { return static_cast<int>(running_.size()); }
  int n_waiting() const noexcept { return static_cast<int>(waiting_.size()); }
  std::uint64_t n_preemptions() const noexcept { return preemptions_; }

  /// The next step's spans, valid until the next call or removal. Not empty unless idle().
  const std::vector<ScheduledSpan>& schedule();

  /// Takes out every sequence for which `predicate` holds, and frees its blocks.
  template <class Predicate>
  std::vector<std::unique_ptr<Sequence>> remove_if(Predicate&& predicate) {
    std::vector<std::unique_ptr<Sequence>> removed;
    const auto take = [&](auto& list) {
      std::erase_if(list, [&](std::unique_ptr<Sequence>& sequence) {
        if (!predicate(*sequence)) return false;
        pool_.release(sequence->blocks);
        removed.push_back(std::move(sequence));
        return true;
      });
    };
    take(running_);
    take(waiting_);
    return removed;
  }

 private:
  void schedule_decodes();
  void schedule_prefills();
  void admit();
  void preempt_youngest();

  BlockPool& pool_;
  Limits limits_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<ScheduledSpan> spans_;
  int budget_ = 0;
  bool preempted_ = false;
  std::uint64_t preemptions_ = 0;
};

}  // namespace moebox

#include "runtime/scheduler.h"

#include <algorithm>
#include <iterator>

namespace moebox {

const std::vector<ScheduledSpan>& Scheduler::schedule() noexcept {
  spans_.clear();
  budget_ = limits_.max_batch_tokens;
  preempted_ = false;
  schedule_decodes();
  schedule_prefills();
  if (!preempted_ || spans_.empty()) admit();
  return spans_;
}

void Scheduler::schedule_decodes() noexcept {
  // Preemption shortens running_ from its end; the sequence at hand may itself be the youngest.
  for (auto next = running_.begin(); next != running_.end() && budget_ > 0; ++next) {
    Sequence& sequence = *next;
    if (sequence.pending() != 1) continue;
    bool gone = false;
    while (!gone && !pool_.grow(sequence.blocks, static_cast<int>(sequence.tokens.size()))) {
      gone = &running_.back() == &sequence;
      preempt_youngest();
    }
    if (gone) break;
    spans_.push_back({&sequence, 1});
    --budget_;
  }
}

void Scheduler::schedule_prefills() noexcept {
  for (Sequence& sequence : running_) {
    if (budget_ == 0) return;
    if (sequence.pending() <= 1) continue;
    const int n_tokens = std::min(sequence.pending(), budget_);
    spans_.push_back({&sequence, n_tokens});  // its blocks were taken when it was admitted
    budget_ -= n_tokens;
  }
}

void Scheduler::admit() noexcept {
  while (!waiting_.empty() && budget_ > 0 && n_running() < limits_.max_sequences) {
    Sequence& sequence = waiting_.front();
    if (!pool_.grow(sequence.blocks, static_cast<int>(sequence.tokens.size()))) return;
    if (sequence.started == Clock::time_point{}) sequence.started = Clock::now();
    running_.splice(running_.end(), waiting_, waiting_.begin());
    const int n_tokens = std::min(sequence.pending(), budget_);
    spans_.push_back({&sequence, n_tokens});
    budget_ -= n_tokens;
  }
}

void Scheduler::preempt_youngest() noexcept {
  Sequence& victim = running_.back();
  pool_.release(victim.blocks);
  victim.n_computed = 0;
  ++victim.stats.preemptions;
  ++preemptions_;
  preempted_ = true;
  waiting_.splice(waiting_.begin(), running_, std::prev(running_.end()));
}

}  // namespace moebox

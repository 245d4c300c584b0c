#include "runtime/scheduler.h"

#include <algorithm>

namespace moebox {

const std::vector<ScheduledSpan>& Scheduler::schedule() {
  spans_.clear();
  budget_ = limits_.max_batch_tokens;
  preempted_ = false;
  schedule_decodes();
  schedule_prefills();
  if (!preempted_ || spans_.empty()) admit();
  return spans_;
}

void Scheduler::schedule_decodes() {
  // Preemption shortens running_ from its end, so the index stays right; the sequence at hand may itself be the
  // youngest.
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence* sequence = running_[i].get();
    if (sequence->pending() != 1) continue;
    bool gone = false;
    while (!gone && !pool_.grow(sequence->blocks, static_cast<int>(sequence->tokens.size()))) {
      gone = running_.back().get() == sequence;
      preempt_youngest();
    }
    if (gone) break;
    spans_.push_back({sequence, 1});
    --budget_;
  }
}

void Scheduler::schedule_prefills() {
  for (const auto& sequence : running_) {
    if (budget_ == 0) return;
    if (sequence->pending() <= 1) continue;
    const int n_tokens = std::min(sequence->pending(), budget_);
    spans_.push_back({sequence.get(), n_tokens});  // its blocks were taken when it was admitted
    budget_ -= n_tokens;
  }
}

void Scheduler::admit() {
  while (!waiting_.empty() && budget_ > 0 && n_running() < limits_.max_sequences) {
    Sequence* sequence = waiting_.front().get();
    if (!pool_.grow(sequence->blocks, static_cast<int>(sequence->tokens.size()))) return;
    if (sequence->started == Clock::time_point{}) sequence->started = Clock::now();
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    const int n_tokens = std::min(sequence->pending(), budget_);
    spans_.push_back({sequence, n_tokens});
    budget_ -= n_tokens;
  }
}

void Scheduler::preempt_youngest() {
  std::unique_ptr<Sequence> victim = std::move(running_.back());
  running_.pop_back();
  pool_.release(victim->blocks);
  victim->n_computed = 0;
  ++victim->stats.preemptions;
  ++preemptions_;
  preempted_ = true;
  waiting_.push_front(std::move(victim));
}

}  // namespace moebox

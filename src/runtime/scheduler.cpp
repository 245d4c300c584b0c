#include "runtime/scheduler.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace moebox {

const std::vector<ScheduledSpan>& Scheduler::schedule() noexcept {
  spans_.clear();
  budget_ = limits_.max_batch_tokens;
  preempted_ = false;
  schedule_decodes();
  if (!spans_.empty()) budget_ = std::min(budget_, prompt_tokens_beside(static_cast<int>(spans_.size())));
  schedule_prefills();
  if (!preempted_ || spans_.empty()) admit();
  return spans_;
}

/// A few prompts give way to many answers. Where as many wait for their first token as a quarter of those that wait
/// for their next one, all get on sooner if the prompts are done with.
int Scheduler::prompt_tokens_beside(int n_answers) const noexcept {
  const int most = limits_.prompt_tokens_beside_answers;
  const int n_prompts = n_running() - n_answers + static_cast<int>(waiting_.size());
  if (pacer_ == nullptr || n_prompts == 0 || n_prompts > std::max(1, n_answers / 4)) return most;
  return std::min(most, pacer_->tokens(n_answers));
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
  while (!waiting_.empty() && budget_ > 0 &&
         running_.size() + reading_.size() < static_cast<std::size_t>(limits_.max_sequences)) {
    Sequence& sequence = waiting_.front();
    // All but the last token may be found: the logits of that one are wanted.
    take_shared_blocks(sequence, static_cast<int>(sequence.tokens.size()) - 1);
    if (!pool_.grow(sequence.blocks, static_cast<int>(sequence.tokens.size()))) return give_back_blocks(sequence);
    if (store_ != nullptr && shares(sequence) && store_->begin_reading(sequence, sequence.n_published)) {
      reading_.splice(reading_.end(), waiting_, waiting_.begin());
      continue;
    }
    start(waiting_, waiting_.begin());
    const int n_tokens = std::min(sequence.pending(), budget_);
    spans_.push_back({&sequence, n_tokens});
    budget_ -= n_tokens;
  }
}

const std::vector<ScheduledSpan>& Scheduler::schedule_idle(Sequence& sequence, int n_tokens) noexcept {
  spans_.clear();
  const auto whole_blocks = [](int n) { return n / kv_block_tokens * kv_block_tokens; };
  const int all = whole_blocks(static_cast<int>(sequence.tokens.size()));
  if (sequence.blocks.empty()) take_shared_blocks(sequence, all);
  const int begin = sequence.n_computed;
  int end = std::min(begin + n_tokens, all);
  if (whole_blocks(end) > begin) end = whole_blocks(end);
  const bool knows_prompt = begin >= whole_blocks(sequence.stats.prompt_tokens);
  if (end > begin && knows_prompt && pool_.grow(sequence.blocks, end))
    spans_.push_back({&sequence, end - begin, 0, false});
  else
    give_back_blocks(sequence);
  return spans_;
}

void Scheduler::end_idle_step(Sequence& sequence) noexcept {
  if (sequence.n_computed % kv_block_tokens == 0) give_back_blocks(sequence);
}

/// It has its blocks, and runs from now on.
void Scheduler::start(SequenceList& from, SequenceList::iterator sequence) noexcept {
  if (sequence->started == Clock::time_point{}) {
    sequence->started = Clock::now();
    sequence->stats.cached_tokens = sequence->n_computed;
    if (shares(*sequence)) looked_up_ += static_cast<std::uint64_t>(sequence->n_prompt);
    found_ += static_cast<std::uint64_t>(sequence->n_computed);
  }
  running_.splice(running_.end(), from, sequence);
}

void Scheduler::take_in_what_was_read() noexcept {
  if (store_ == nullptr) return;
  int n_blocks = 0;
  while (const Sequence* read = store_->finished_reading(n_blocks)) {
    const auto sequence = std::find_if(reading_.begin(), reading_.end(), [&](const Sequence& s) { return &s == read; });
    while (sequence->n_published < n_blocks) publish_next(*sequence);
    sequence->n_computed = sequence->n_published * kv_block_tokens;
    start(reading_, sequence);
  }
}

void Scheduler::preempt_youngest() noexcept {
  Sequence& victim = running_.back();
  give_back_blocks(victim);
  ++victim.stats.preemptions;
  ++preemptions_;
  preempted_ = true;
  waiting_.splice(waiting_.begin(), running_, std::prev(running_.end()));
}

int Scheduler::add_drafts(std::size_t index, int n_drafts) noexcept {
  ScheduledSpan& span = spans_[index];
  Sequence& sequence = *span.sequence;
  const int n_tokens = static_cast<int>(sequence.tokens.size());
  n_drafts = std::min({n_drafts, budget_, sequence.max_tokens - n_tokens - 1});
  if (n_drafts < 1) return 0;
  if (!pool_.grow(sequence.blocks, n_tokens + n_drafts))
    n_drafts = std::min(n_drafts, static_cast<int>(sequence.blocks.size()) * kv_block_tokens - n_tokens);
  span.n_drafts = n_drafts;
  budget_ -= n_drafts;
  return n_drafts;
}

bool Scheduler::cover_next(Sequence& sequence, int n_drafts) noexcept {
  const auto cover = [&](int n_tokens) {
    const int n_more = BlockPool::needed(n_tokens) - static_cast<int>(sequence.blocks.size());
    return n_more <= 0 || (pool_.free() - n_more >= n_running() && pool_.grow(sequence.blocks, n_tokens));
  };
  const auto n_tokens = static_cast<int>(sequence.tokens.size());
  return cover(std::min(n_tokens + n_drafts, sequence.max_tokens)) || cover(n_tokens);
}

void Scheduler::computed(Sequence& sequence, int n_tokens) noexcept {
  sequence.n_computed += n_tokens;
  if (!shares(sequence)) return;
  while ((sequence.n_published + 1) * kv_block_tokens <= sequence.n_computed) {
    publish_next(sequence);
    store_newest(sequence);
  }
}

/// Others may find the next full block from now on.
void Scheduler::publish_next(Sequence& sequence) noexcept {
  sequence.published_identity = pool_.publish(sequence.blocks[static_cast<std::size_t>(sequence.n_published)],
                                              content_of(sequence, sequence.n_published));
  ++sequence.n_published;
}

/// Of a full block, which follows those that are published.
BlockContent Scheduler::content_of(const Sequence& sequence, int block) const noexcept {
  const int begin = block * kv_block_tokens;
  BlockContent content;
  content.parent = sequence.published_identity;
  content.scope = sequence.prefix_scope;
  content.budget = sequence.budget;
  if (limits_.roles_matter) content.n_prompt = sequence.prompt_tokens_in(block);
  content.tokens = std::span(sequence.tokens).subspan(static_cast<std::size_t>(begin), kv_block_tokens);
  return content;
}

/// The first blocks, that others may ask for when the sequence has ended: where roles matter an answer comes back as
/// something else.
int Scheduler::n_worth_keeping(const Sequence& sequence) const noexcept {
  return limits_.roles_matter ? sequence.n_prompt / kv_block_tokens : std::numeric_limits<int>::max();
}

/// The last block that it has published.
void Scheduler::store_newest(Sequence& sequence) noexcept {
  if (store_ != nullptr && sequence.n_published <= n_worth_keeping(sequence))
    store_->keep(sequence, sequence.n_published - 1);
}

/// Full blocks of the first `n_tokens`.
void Scheduler::take_shared_blocks(Sequence& sequence, int n_tokens) noexcept {
  if (!shares(sequence)) return;
  while ((sequence.n_published + 1) * kv_block_tokens <= n_tokens) {
    const std::uint64_t identity = pool_.share(sequence.blocks, content_of(sequence, sequence.n_published));
    if (identity == 0) break;
    sequence.published_identity = identity;
    ++sequence.n_published;
    // What was not stored in time, or has been removed there since.
    if (sequence.n_published > sequence.stored.n_stored) store_newest(sequence);
  }
  sequence.n_computed = sequence.n_published * kv_block_tokens;
}

void Scheduler::give_back_blocks(Sequence& sequence) noexcept {
  pool_.release(sequence.blocks);
  sequence.n_computed = sequence.n_published = 0;
  sequence.published_identity = 0;
  sequence.drafts.forget_cache();
}

}  // namespace moebox

// Which tokens of which sequences make the next step. It owns the sequences and their blocks; it computes
// nothing and allocates nothing.
#pragma once

#include <vector>

#include "runtime/block_pool.h"
#include "runtime/prefix_store.h"
#include "runtime/prompt_pacer.h"
#include "runtime/sequence.h"

namespace moebox {

/// The next `n_tokens` tokens of a sequence, from its n_computed on, and behind its last one the first `n_drafts` of
/// those that are proposed.
struct ScheduledSpan {
  Sequence* sequence;
  int n_tokens;
  int n_drafts = 0;
  bool wants_token = true;  // the one after the sequence's last
  bool reaches_end() const noexcept { return wants_token && n_tokens == sequence->pending(); }
};

/// What a step has computed of a sequence, before the scheduler is told.
struct ComputedSpan {
  Sequence* sequence;
  int first_row;     // of the forward
  int n_tokens;      // that are part of the sequence
  int n_wanted = 0;  // drafts; 0: none
};

/// First come, first served. Decodes come first in a step, then prefills of running sequences, then new ones while
/// tokens and blocks last. When a decode finds no block, the youngest running sequence gives its blocks back and waits
/// in front: its tokens stay, and are computed again later with the same result, as far as its blocks have not kept
/// their content until then. The oldest always gets on, so nothing stalls.
class Scheduler {
 public:
  struct Limits {
    int max_batch_tokens, max_sequences;
    bool share_prefixes = false;             // a sequence begins with blocks that another one has computed
    bool roles_matter = true;                // ModelInfo's
    int prompt_tokens_beside_answers = 512;  // of a step: running answers wait for no more
  };
  /// `store` may be nullptr: then nothing outlives the process. `pacer` may be, too: then a prompt that arrives slows
  /// running answers as much as it may.
  Scheduler(BlockPool& pool, Limits limits, PrefixStore* store = nullptr, PromptPacer* pacer = nullptr)
      : pool_(pool), limits_(limits), store_(store), pacer_(pacer) {
    spans_.reserve(static_cast<std::size_t>(limits.max_sequences));
  }

  /// They wait behind all others.
  void add(SequenceList&& sequences) noexcept { waiting_.splice(waiting_.end(), sequences); }
  /// But for sequences whose blocks are being read.
  bool idle() const noexcept { return running_.empty() && waiting_.empty(); }
  bool is_reading() const noexcept { return !reading_.empty(); }
  int n_running() const noexcept { return static_cast<int>(running_.size()); }
  int n_waiting() const noexcept { return static_cast<int>(waiting_.size() + reading_.size()); }
  std::uint64_t n_preemptions() const noexcept { return preemptions_; }
  /// Tokens of prompts that were looked up in the cache, and those of them that were found, since start.
  std::uint64_t n_looked_up() const noexcept { return looked_up_; }
  std::uint64_t n_found() const noexcept { return found_; }

  /// The next step's spans, valid until the next call or removal. Not empty unless idle(), or is_reading().
  const std::vector<ScheduledSpan>& schedule() noexcept;
  const std::vector<ScheduledSpan>& spans() const noexcept { return spans_; }
  /// Tokens that the step has room for.
  int room() const noexcept { return budget_; }
  /// Adds drafts behind a span that reaches the sequence's end, as far as they, and the token after them, can become
  /// part of the answer and there are blocks that nobody needs at once. How many.
  int add_drafts(std::size_t span, int n_drafts) noexcept;
  /// Whether there is a block for the sequence's last token, or one that no running sequence may need at once. Takes
  /// blocks for so many drafts behind it, too, if there are such.
  bool cover_next(Sequence& sequence, int n_drafts = 0) noexcept;
  /// So many tokens of the sequence have been computed, and computed well; they are part of it.
  void computed(Sequence& sequence, int n_tokens) noexcept;

  /// The step of an idle scheduler: the next tokens, at most `n_tokens`, of a sequence that is not the scheduler's and
  /// whose answer has become prompt. Empty, and the sequence has no blocks, when its full blocks are in the cache, when
  /// those of its request's prompt are not any more (memory is short), or when there is no room.
  const std::vector<ScheduledSpan>& schedule_idle(Sequence& sequence, int n_tokens) noexcept;
  /// Behind computed(). Only in the middle of a block the sequence keeps its blocks; what it has published is found
  /// again unless others needed the room.
  void end_idle_step(Sequence& sequence) noexcept;
  /// Its blocks are there for others.
  void interrupt_idle(Sequence& sequence) noexcept { give_back_blocks(sequence); }

  /// Sequences whose blocks have been read run from now on.
  void take_in_what_was_read() noexcept;

  /// Takes out every sequence for which `predicate` holds, and frees its blocks; but for those whose blocks are being
  /// read.
  template <class Predicate>
  SequenceList remove_if(Predicate&& predicate) noexcept {
    SequenceList removed;
    for (SequenceList* list : {&running_, &waiting_}) {
      for (auto next = list->begin(); next != list->end();) {
        const auto sequence = next++;
        if (!predicate(*sequence)) continue;
        pool_.release(sequence->blocks, n_worth_keeping(*sequence));
        removed.splice(removed.end(), *list, sequence);
      }
    }
    return removed;
  }

 private:
  int prompt_tokens_beside(int n_answers) const noexcept;
  void schedule_decodes() noexcept;
  void schedule_prefills() noexcept;
  void admit() noexcept;
  void start(SequenceList& from, SequenceList::iterator sequence) noexcept;
  void publish_next(Sequence& sequence) noexcept;
  void store_newest(Sequence& sequence) noexcept;
  void preempt_youngest() noexcept;
  bool shares(const Sequence& sequence) const noexcept { return limits_.share_prefixes && sequence.share_prefix; }
  BlockContent content_of(const Sequence& sequence, int block) const noexcept;
  int n_worth_keeping(const Sequence& sequence) const noexcept;
  void take_shared_blocks(Sequence& sequence, int n_tokens) noexcept;
  void give_back_blocks(Sequence& sequence) noexcept;

  BlockPool& pool_;
  Limits limits_;
  PrefixStore* store_;
  PromptPacer* pacer_;
  SequenceList running_;  // oldest first
  SequenceList waiting_;
  SequenceList reading_;              // they have their blocks, which the store fills
  std::vector<ScheduledSpan> spans_;  // at most one of each running sequence
  int budget_ = 0;
  bool preempted_ = false;
  std::uint64_t preemptions_ = 0, looked_up_ = 0, found_ = 0;
};

}  // namespace moebox

#include "runtime/draft_chooser.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace moebox {
namespace {

// Before anything is known: what tokens beside the first add to a step that is bound by reading the weights.
constexpr double second_token = 0.3, further_token = 0.12;
// What drafts must promise to be made at all: the estimates are noisy.
constexpr double least_gain = 1.05;

double guess(int n_tokens) noexcept {
  return n_tokens <= 1 ? 1.0 : 1.0 + second_token + further_token * (n_tokens - 2);
}

}  // namespace

void StepCost::observe(int n_tokens, double ms) noexcept {
  constexpr double memory = 0.97, outlier = 2.0;
  // A step that waited for the processor says nothing; if all take that long, the estimate follows soon enough.
  if (single_ > 0 || weight_ > 0) ms = std::min(ms, outlier * this->ms(n_tokens));
  if (n_tokens <= 1) {
    single_ += std::max(0.1, 1.0 / ++n_single_) * (ms - single_);
    return;
  }
  const double x = n_tokens;
  weight_ = weight_ * memory + 1;
  x_ = x_ * memory + x;
  xx_ = xx_ * memory + x * x;
  y_ = y_ * memory + ms;
  xy_ = xy_ * memory + x * ms;
}

double StepCost::ms(int n_tokens) const noexcept {
  if (n_tokens <= 1) return single_ > 0 ? single_ : weight_ > 0 ? line(2) / guess(2) : 1.0;
  return line(n_tokens);
}

/// The guess counts as two steps: it holds the slope while all steps have the same size.
double StepCost::line(int n_tokens) const noexcept {
  constexpr double near = 2, far = 12;
  const double unit = single_ > 0 ? single_ : weight_ > 0 ? y_ / weight_ / guess(static_cast<int>(x_ / weight_)) : 1.0;
  const double near_ms = unit * guess(static_cast<int>(near)), far_ms = unit * guess(static_cast<int>(far));
  const double w = weight_ + 2, x = x_ + near + far, xx = xx_ + near * near + far * far, y = y_ + near_ms + far_ms,
               xy = xy_ + near * near_ms + far * far_ms;
  const double slope = std::max(0.0, (w * xy - x * y) / (w * xx - x * x));
  return std::max(0.01 * unit, y / w + slope * (n_tokens - x / w));
}

DraftChooser::DraftChooser(Limits limits, int max_sequences, Speculation source)
    : limits_(limits), experience_(source) {
  candidates_.reserve(static_cast<std::size_t>(max_sequences));
}

void DraftChooser::add_drafts(Scheduler& scheduler) noexcept {
  n_tokens_ = n_added_ = n_right_ = 0;
  candidates_.clear();
  const std::vector<ScheduledSpan>& spans = scheduler.spans();
  int n_rows = 0;
  bool only_decodes = true;
  for (const ScheduledSpan& span : spans) {
    n_rows += span.reaches_end() ? 1 : 0;
    only_decodes = only_decodes && span.n_tokens == 1;
  }
  if (only_decodes) n_tokens_ = static_cast<int>(spans.size());
  if (limits_.max_drafts == 0) return;
  const int room = std::min(limits_.max_rows - n_rows, scheduler.room());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    Sequence& sequence = *spans[i].sequence;
    DraftState& state = sequence.drafts;
    if (!is_computed(state.source)) state.match = state.n_proposed = 0;
    if (room < 1 || !spans[i].reaches_end() || spans[i].n_tokens != 1 || !(only_decodes || limits_.always)) continue;
    if (!is_computed(state.source)) {
      state.match = state.drafter.propose(sequence.tokens, state.proposed);
      state.n_proposed = state.match > 0 ? static_cast<int>(state.proposed.size()) : 0;
    }
    if (state.n_proposed > 0) candidates_.push_back({i, &state, 0, 0, state.record.chance(state.match_of(0))});
  }
  if (candidates_.empty()) return;
  if (n_tokens_ == 1 && !limits_.always && (cost_.n_single() < least_measured || ++n_unmeasured_ > most_unmeasured))
    return;
  choose(n_tokens_, room);
  for (const Candidate& candidate : candidates_) {
    const int n = scheduler.add_drafts(candidate.span, candidate.n_best);
    candidate.state->n_declined = candidate.n_best > 0 ? 0 : candidate.state->n_declined + 1;
    candidate.state->n_drafted = candidate.n_best;
    n_added_ += n;
    if (n_tokens_ > 0) n_tokens_ += n;
  }
}

/// Adds the draft that is likeliest to be of use, one after the other, and keeps the number that makes the most tokens
/// in the time of the step.
void DraftChooser::choose(int n_tokens, int room) noexcept {
  const double base = n_tokens > 0 ? n_tokens / cost_.ms(n_tokens) : 0;
  double best = least_gain * base, expected = n_tokens;
  for (int added = 1; added <= room; ++added) {
    Candidate* likeliest = nullptr;
    for (Candidate& candidate : candidates_)
      if (candidate.n_drafts < std::min(limits_.max_drafts, candidate.state->n_proposed) &&
          (likeliest == nullptr || candidate.next > likeliest->next))
        likeliest = &candidate;
    if (likeliest == nullptr) break;
    expected += likeliest->next;
    ++likeliest->n_drafts;
    likeliest->next *= likeliest->state->record.chance(likeliest->state->match_of(likeliest->n_drafts));
    const double rate = expected / cost_.ms(n_tokens + added);
    if (!limits_.always && rate <= best) continue;
    best = rate;
    for (Candidate& candidate : candidates_) candidate.n_best = candidate.n_drafts;
  }
}

void DraftChooser::verified(const ScheduledSpan& span, TokenId first_token, int n_compared, int n_right) noexcept {
  DraftState& state = span.sequence->drafts;
  n_right_ += n_right;
  if (state.n_proposed == 0) return;
  // What was only proposed is judged by its first token.
  const auto observe = [&](int i, bool right) {
    state.record.observe(state.match_of(i), right);
    experience_.observe(state.match_of(i), right);
  };
  if (span.n_drafts == 0) observe(0, state.proposed.front() == first_token);
  for (int i = 0; i < n_compared; ++i) observe(i, i < n_right);
  // The next proposal begins with the token that came.
  state.n_proposed = 0;
}

int DraftChooser::wanted(DraftState& state, int n_behind, double decode_ms) noexcept {
  if (limits_.always) return limits_.max_drafts;
  if (!state.is_known) state.record = experience_;
  state.is_known = true;
  if (balance_ < 0 || (n_tokens_ - n_added_ <= 1 && cost_.n_single() < least_measured)) return 0;
  // Nobody knows how long the answer will be: at least as long again as it is, say. A drafter catches up when drafts
  // would have saved as much by now, or when that much has been won before.
  const double could_save_ms = std::max(std::max(stake_per_step, gain_) * decode_ms, balance_ * plain_ms());
  if (n_behind > 1 && n_behind * catching_up_ms_ > could_save_ms) return 0;
  if (state.n_declined >= patience && ++state.n_declined < patience + rest) return 0;
  if (state.n_declined >= patience) state.n_declined = patience - 1;
  // A model says how sure it is, and stops by least_chance() when it is known what a draft takes. A layer is asked for
  // one more than was worth it the last time.
  const bool by_confidence = state.source == Speculation::draft && drafting_ms_ > 0;
  return by_confidence ? limits_.max_drafts : std::min(limits_.max_drafts, state.n_drafted + 1);
}

int DraftChooser::room_to_catch_up() const noexcept {
  constexpr int first_time = 4 * kv_block_tokens;
  if (limits_.always) return std::numeric_limits<int>::max();
  if (catching_up_ms_ == 0) return first_time;
  return static_cast<int>(std::clamp(plain_ms() / catching_up_ms_, 1.0 * kv_block_tokens, 1e6));
}

double DraftChooser::least_chance(int n_sequences) const noexcept {
  if (limits_.always) return 0;
  const double more_ms = cost_.ms(n_sequences + 2) - cost_.ms(n_sequences + 1) + drafting_ms_ / n_sequences;
  return more_ms * n_sequences / cost_.ms(n_sequences);
}

void DraftChooser::drafting_took(int n_drafts, double ms) noexcept {
  constexpr double weight = 0.1, outlier = 2.0;
  const double one = ms / n_drafts;
  drafting_ms_ += drafting_ms_ > 0 ? weight * (std::min(one, outlier * drafting_ms_) - drafting_ms_) : one;
  next_drafted_ms_ += ms;
}

void DraftChooser::catching_up_took(int n_tokens, double ms) noexcept {
  constexpr double weight = 0.2;
  const double one = ms / n_tokens;
  catching_up_ms_ += catching_up_ms_ > 0 ? weight * (one - catching_up_ms_) : one;
  // What was not won before is owed to the sequence's own drafts, which are to be made now.
  if (cost_.known()) balance_ -= std::clamp(ms / plain_ms(), 0.0, std::max(0.0, balance_));
}

double DraftChooser::plain_ms() const noexcept { return cost_.ms(std::max(1, n_tokens_ - n_added_)); }

/// What the step's drafts have won or lost, their making included.
void DraftChooser::book(double ms) noexcept {
  constexpr double weight = 0.1, outlier = 2.0;
  balance_ += stake_per_step;
  const double drafted_ms = std::exchange(drafted_ms_, std::exchange(next_drafted_ms_, 0));
  if (n_tokens_ == 0 || !cost_.known() || (n_added_ == 0 && drafted_ms == 0)) return;
  const int n_sequences = n_tokens_ - n_added_;
  const double steps = 1 + static_cast<double>(n_right_) / n_sequences;
  double saved = -drafted_ms / plain_ms();
  if (n_added_ > 0) saved += steps - std::min(ms, outlier * cost_.ms(n_tokens_)) / plain_ms();
  gain_ += weight * (saved / steps - gain_);
  balance_ = std::min(balance_ + saved, most_stake);
}

void DraftChooser::step_took(double ms) noexcept {
  book(ms);
  if (n_tokens_ == 1) n_unmeasured_ = 0;
  if (n_tokens_ > 0) cost_.observe(n_tokens_, ms);
}

}  // namespace moebox

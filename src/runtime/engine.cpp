#include "runtime/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include "base/log.h"
#include "runtime/block_pool.h"
#include "runtime/draft_chooser.h"
#include "runtime/idle_prefill.h"
#include "runtime/layer_drafter.h"
#include "runtime/model_drafter.h"
#include "runtime/scheduler.h"

namespace moebox {
namespace {

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

struct Engine::State {
  State(std::unique_ptr<const Model> m, std::unique_ptr<ThreadTeam> t, EngineOptions o, std::unique_ptr<const Model> d)
      : model(std::move(m)),
        draft_model(std::move(d)),
        team(std::move(t)),
        options(o.resolved(model->info(), team->size(), draft_info())),
        pool(model->info(),
             static_cast<int>(options.kv_bytes / EngineOptions::block_bytes(model->info(), draft_info()))),
        prefixes(make_prefix_store()),
        pacer({options.max_batch_tokens, options.decode_slowdown}),
        scheduler(pool,
                  {options.max_batch_tokens, options.max_sequences, options.share_prefixes, model->info().roles_matter},
                  prefixes.get(), options.decode_slowdown > 0 ? &pacer : nullptr),
        chooser({options.max_drafts(), options.max_logit_rows(), options.always_draft}, options.max_sequences,
                options.speculation),
        idle_prefill(options.share_prefixes && model->info().roles_matter, options.max_batch_tokens),
        kernels(kernel_table()),
        expert_load(model->info().moe.n_layers, model->info().moe.n_experts) {
    team->forget_pace();  // loading, which is reading and page faults, says nothing about steps
    workspace =
        model->make_workspace(options.max_batch_tokens, options.max_logit_rows(), options.context_tokens, team->size());
    logits = AnonymousMemory(static_cast<std::size_t>(options.max_logit_rows()) *
                                 static_cast<std::size_t>(model->info().vocab_size) * sizeof(float),
                             "logits", false);
    const MoeInfo& moe = model->info().moe;
    dropped.resize(static_cast<std::size_t>(moe.n_layers) * static_cast<std::size_t>(options.max_batch_tokens));
    experts.resize(dropped.size() * static_cast<std::size_t>(moe.top_k));
    const auto spans_in_step = static_cast<std::size_t>(options.max_sequences) * 2;
    tokens.reserve(static_cast<std::size_t>(options.max_batch_tokens));
    spans.reserve(spans_in_step);
    logit_rows.reserve(static_cast<std::size_t>(options.max_logit_rows()));
    sampling.reserve(spans_in_step);
    open.reserve(spans_in_step);
    endings.reserve(spans_in_step);
    failed.reserve(spans_in_step);
    if (model->info().n_draft_layers > 0) layer_drafter.emplace(*model, options);
    if (draft_model) model_drafter.emplace(*draft_model, pool, options, model->info().vocab_size);
    computed.reserve(spans_in_step);
    sampler_scratch.reserve(static_cast<std::size_t>(team->size()));
    for (int i = 0; i < team->size(); ++i) sampler_scratch.emplace_back(model->info().vocab_size);
  }

  const ModelInfo* draft_info() const noexcept { return draft_model ? &draft_model->info() : nullptr; }
  std::unique_ptr<PrefixStore> make_prefix_store();
  void loop() noexcept;
  bool take_news() noexcept;
  void run(const std::vector<ScheduledSpan>& scheduled) noexcept;
  void count_experts(Sequence& sequence, int first_token, int n_tokens) noexcept;
  void add_span(const ScheduledSpan& scheduled) noexcept;
  void sample() noexcept;
  void commit(const std::vector<ScheduledSpan>& scheduled) noexcept;
  void make_drafts() noexcept;
  void keep(const std::vector<ScheduledSpan>& scheduled) noexcept;
  bool has_idle_work() const noexcept;
  void use_idle_time() noexcept;
  bool deliver(Sequence& sequence, const GeneratedToken& token) noexcept;
  std::shared_ptr<const Error> error_at_hand(const char* where) const noexcept;
  std::shared_ptr<const Error> step_error() const noexcept;
  void finish(Sequence& sequence, FinishReason reason, const Error* error) noexcept;
  void publish_stats() noexcept;

  std::unique_ptr<const Model> model;
  std::unique_ptr<const Model> draft_model;  // of Speculation::draft
  std::unique_ptr<ThreadTeam> team;
  EngineOptions options;
  BlockPool pool;
  std::unique_ptr<PrefixStore> prefixes;  // where there is a store
  PromptPacer pacer;
  Scheduler scheduler;
  DraftChooser chooser;
  std::optional<LayerDrafter> layer_drafter;  // of a model with a layer for it
  std::optional<ModelDrafter> model_drafter;  // where there is a second model
  IdlePrefill idle_prefill;
  const KernelTable& kernels;
  ExpertLoadCounter expert_load;
  std::unique_ptr<Workspace> workspace;
  std::vector<SamplerScratch> sampler_scratch;  // (n_threads)
  // Made while there is memory for its words.
  const std::shared_ptr<const Error> out_of_memory = std::make_shared<const Error>(
      ErrorKind::resource, "there was no memory for what the next token needs", "", "try again with fewer requests");

  // The step at hand.
  std::vector<TokenId> tokens;
  std::vector<BatchSpan> spans;
  std::vector<int> logit_rows;
  AnonymousMemory logits;             // (max_logit_rows, vocab_size)
  std::vector<std::int32_t> experts;  // (moe.n_layers, tokens, moe.top_k)
  std::vector<float> dropped;         // (moe.n_layers, tokens)
  /// Of one sequence: first its next token, then as many more as drafts prove right.
  struct Sampling {
    Sequence* sequence;
    int first_row;  // of the logits
    int n_drafts;
    int n_sampled = 0;  // tokens, or attempts
    int n_right = 0;    // drafts
    TokenId first_token = -1;
    const GeneratedToken* token = nullptr;    // the sampler's
    std::shared_ptr<const Error> error = {};  // where it is set, there is no token
  };
  std::vector<Sampling> sampling;
  std::vector<Sampling*> open;  // those that go on
  struct Ending {
    Sequence* sequence;
    FinishReason reason;
    std::shared_ptr<const Error> error;
  };
  std::vector<ComputedSpan> computed;
  double drafting_ms = 0;  // of the step, spent on the next one's drafts
  std::vector<Ending> endings;
  std::vector<Ending> failed;  // all that took part in a forward that failed

  // What other threads say and ask.
  mutable std::mutex mutex;
  std::condition_variable news;
  SequenceList arrivals;
  std::map<RequestId, Sequence*> live;  // submitted and not finished
  bool cancelled = false;               // some of them
  bool stopping = false;
  bool blocks_read = false;  // of some sequences, by the store
  RequestId last_id = 0;
  EngineStats stats;

  bool stalled = false;  // nothing can run until blocks have been read; the engine's thread's
  std::thread thread;
};

Engine::Engine(std::unique_ptr<const Model> model, std::unique_ptr<ThreadTeam> team, EngineOptions options,
               std::unique_ptr<const Model> draft_model)
    : state_(std::make_unique<State>(std::move(model), std::move(team), options, std::move(draft_model))) {
  state_->stats.kv_blocks_total = state_->pool.total();
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->news.notify_all();
  state_->thread.join();
  state_->prefixes.reset();  // its threads report to what is destroyed before it
}

const ModelInfo& Engine::model() const noexcept { return state_->model->info(); }
const EngineOptions& Engine::options() const noexcept { return state_->options; }
std::size_t Engine::kv_bytes() const noexcept {
  return state_->pool.bytes() + (state_->model_drafter ? state_->model_drafter->cache_bytes() : 0);
}

RequestId Engine::submit(GenerationRequest request, std::shared_ptr<GenerationSink> sink) {
  const ModelInfo& info = model();
  const int context = options().context_tokens;
  if (request.prompt.empty())
    throw Error(ErrorKind::invalid_argument, "expected at least one token, found none", "prompt");
  if (request.prompt.size() >= static_cast<std::size_t>(context))
    throw Error(ErrorKind::invalid_argument,
                "the context holds " + std::to_string(context) + " tokens and the prompt has " +
                    std::to_string(request.prompt.size()),
                "prompt", "shorten the prompt or start with a longer context");
  for (const TokenId id : request.prompt)
    if (id < 0 || id >= info.vocab_size)
      throw Error(
          ErrorKind::invalid_argument,
          "expected token ids from 0 to " + std::to_string(info.vocab_size - 1) + ", found " + std::to_string(id),
          "prompt");
  if (request.max_new_tokens < 1)
    throw Error(ErrorKind::invalid_argument, "expected at least 1, found " + std::to_string(request.max_new_tokens),
                "max_new_tokens");
  request.sampling.validate(info.vocab_size);
  if (info.moe.n_layers > 0)
    request.budget.validate(info.moe.top_k);
  else if (request.budget != RoutingBudget{})
    throw Error(ErrorKind::invalid_argument, "the model has no experts that a budget could limit", "moe");
  const auto n_prompt = static_cast<int>(request.prompt.size());
  const int max_tokens = request.max_new_tokens > context - n_prompt ? context : n_prompt + request.max_new_tokens;
  SequenceList arrival;
  Sequence& sequence = arrival.emplace_back(std::move(request), std::move(sink), max_tokens, options().max_drafts(),
                                            options().speculation);
  sequence.stats.moe = MoeUsage::none_of(info);
  if (state_->prefixes) state_->prefixes->prepare(sequence);
  RequestId id;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) throw Error(ErrorKind::cancelled, "the engine is shutting down");
    // Those that can start at once do not count as waiting.
    const auto places =
        static_cast<std::size_t>(options().max_queued + std::max(0, options().max_sequences - state_->stats.running));
    if (state_->arrivals.size() + static_cast<std::size_t>(state_->stats.waiting) >= places)
      throw Error(ErrorKind::resource, "the queue is full: " + std::to_string(state_->stats.waiting) + " requests wait",
                  "queue", "try again later");
    id = sequence.id = ++state_->last_id;
    state_->live.emplace(id, &sequence);
    state_->arrivals.splice(state_->arrivals.end(), arrival);
  }
  state_->news.notify_all();
  return id;
}

void Engine::cancel(RequestId id) noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->live.find(id);
    if (found == state_->live.end()) return;
    found->second->cancelled = true;
    state_->cancelled = true;
  }
  state_->news.notify_all();
}

EngineStats Engine::stats() const noexcept {
  std::vector<ExpertLoad> expert_load;
  try {
    expert_load = state_->expert_load.read();
  } catch (const std::bad_alloc&) {
    // The other figures need no memory.
  }
  const std::lock_guard lock(state_->mutex);
  EngineStats stats = state_->stats;
  stats.expert_load = std::move(expert_load);
  stats.expert_cache = state_->model->expert_cache();
  stats.team = state_->team->times();
  if (state_->prefixes) stats.store = state_->prefixes->stats();
  stats.waiting += static_cast<int>(state_->arrivals.size());
  return stats;
}

std::unique_ptr<PrefixStore> Engine::State::make_prefix_store() {
  if (!options.store || !options.share_prefixes) return nullptr;
  const ModelInfo& info = model->info();
  const PrefixStore::Limits limits{options.max_batch_tokens, options.max_sequences, info.roles_matter};
  return std::make_unique<PrefixStore>(options.store, block_circumstances(info, options.model_identity), info,
                                       pool.blocks(), limits, [this] {
                                         {
                                           const std::lock_guard lock(mutex);
                                           blocks_read = true;
                                         }
                                         news.notify_all();
                                       });
}

void Engine::State::loop() noexcept {
  while (take_news()) {
    if (!scheduler.idle() && !idle_prefill.empty()) scheduler.interrupt_idle(idle_prefill.newest());
    const auto& scheduled = scheduler.schedule();
    stalled = scheduled.empty();
    if (stalled) {
      if (has_idle_work()) use_idle_time();
      continue;
    }
    const auto begin = Clock::now();
    const auto n_answers = static_cast<int>(std::count_if(
        scheduled.begin(), scheduled.end(), [](const auto& span) { return span.n_tokens == 1 && span.reaches_end(); }));
    int n_prompt_tokens = -n_answers;
    for (const ScheduledSpan& span : scheduled) n_prompt_tokens += span.n_tokens;
    chooser.add_drafts(scheduler);
    run(scheduled);
    commit(scheduled);
    const double ms = ms_between(begin, Clock::now());
    chooser.step_took(ms - drafting_ms);
    pacer.step_took(n_answers, n_prompt_tokens, ms);
  }
}

/// Waits until there is something to do, and takes in what other threads said. False: stop.
bool Engine::State::take_news() noexcept {
  bool some_cancelled, stop, some_read;
  {
    std::unique_lock lock(mutex);
    news.wait(lock, [&] {
      return stopping || cancelled || blocks_read || !arrivals.empty() || !(scheduler.idle() || stalled) ||
             has_idle_work();
    });
    some_cancelled = std::exchange(cancelled, false);
    some_read = std::exchange(blocks_read, false);
    stop = stopping;
    stats.waiting += static_cast<int>(arrivals.size());
    scheduler.add(std::move(arrivals));
  }
  if (stop && prefixes) prefixes->give_up_reading();
  if (stop || some_read) scheduler.take_in_what_was_read();
  if (stop || some_cancelled || some_read) {
    SequenceList gone = scheduler.remove_if([&](const Sequence& s) { return stop || s.cancelled; });
    for (Sequence& sequence : gone) finish(sequence, FinishReason::cancelled, nullptr);
    publish_stats();
  }
  return !stop;
}

void Engine::State::run(const std::vector<ScheduledSpan>& scheduled) noexcept {
  tokens.clear();
  spans.clear();
  logit_rows.clear();
  sampling.clear();
  for (const ScheduledSpan& span : scheduled) add_span(span);
  Batch batch{tokens, spans, logit_rows, reinterpret_cast<float*>(logits.data())};
  if (!experts.empty()) batch.routing = {experts.data(), dropped.data()};
  const auto begin = Clock::now();
  model->forward(*team, *workspace, pool.blocks(), batch);
  if (prefixes) prefixes->step_took(static_cast<int>(tokens.size()), Clock::now() - begin);
  if (const auto error = step_error()) {
    for (const ScheduledSpan& span : scheduled) failed.push_back({span.sequence, FinishReason::error, error});
    sampling.clear();
  }
}

/// Why the step that was computed is worthless, if it is.
std::shared_ptr<const Error> Engine::State::step_error() const noexcept {
  try {
    workspace->check_step();
    return nullptr;
  } catch (...) {
    return error_at_hand("forward");
  }
}

/// Adds up what the gates chose for a sequence's tokens, which stand from `first_token` on in the step. Tokens that are
/// computed again have been counted.
void Engine::State::count_experts(Sequence& sequence, int first_token, int n_tokens) noexcept {
  MoeUsage& usage = sequence.stats.moe;
  const MoeInfo& moe = model->info().moe;
  const auto top_k = static_cast<std::size_t>(moe.top_k);
  const int begin = std::max(0, sequence.n_routed - sequence.n_computed);
  for (int layer = 0; layer < moe.n_layers; ++layer) {
    for (int i = begin; i < n_tokens; ++i) {
      const std::size_t row =
          static_cast<std::size_t>(layer) * tokens.size() + static_cast<std::size_t>(first_token + i);
      const auto chosen = std::span(experts).subspan(row * top_k, top_k);
      usage.add(chosen, dropped[row]);
      for (const std::int32_t expert : chosen)
        if (expert >= 0) expert_load.add(layer, expert);
    }
  }
  sequence.n_routed = std::max(sequence.n_routed, sequence.n_computed + n_tokens);
}

/// Appends a sequence's tokens; where the prompt ends and the answer begins, the span ends, too, for their roles
/// differ.
void Engine::State::add_span(const ScheduledSpan& scheduled) noexcept {
  Sequence& sequence = *scheduled.sequence;
  const int known = static_cast<int>(sequence.tokens.size());
  const int end = sequence.n_computed + scheduled.n_tokens + scheduled.n_drafts;
  for (int first = sequence.n_computed; first < end;) {
    const bool prompt = first < sequence.n_prompt;
    const int last = prompt ? std::min(end, sequence.n_prompt) : end;
    spans.push_back({static_cast<int>(tokens.size()), last - first, first, sequence.blocks,
                     prompt ? Role::prompt : Role::generated, sequence.budget});
    tokens.insert(tokens.end(), sequence.tokens.begin() + std::min(first, known),
                  sequence.tokens.begin() + std::min(last, known));
    first = last;
  }
  if (!scheduled.reaches_end()) return;
  tokens.insert(tokens.end(), sequence.drafts.proposed.begin(), sequence.drafts.proposed.begin() + scheduled.n_drafts);
  sampling.push_back({&sequence, static_cast<int>(logit_rows.size()), scheduled.n_drafts});
  for (int row = static_cast<int>(tokens.size()) - 1 - scheduled.n_drafts; row < static_cast<int>(tokens.size()); ++row)
    logit_rows.push_back(row);
}

/// Samples the next token of all sequences that go on, shared among the team: over a large vocabulary this takes time.
void Engine::State::sample() noexcept {
  std::atomic<std::size_t> next{0};
  const auto vocab = static_cast<std::size_t>(model->info().vocab_size);
  team->run([&](const TeamMember& member) {
    for (std::size_t i = next++; i < open.size(); i = next++) {
      Sampling& work = *open[i];
      const auto index = static_cast<std::size_t>(work.first_row + work.n_sampled++);
      const std::span<float> row(reinterpret_cast<float*>(logits.data()) + index * vocab, vocab);
      try {
        work.token = &work.sequence->sampler.sample(kernels, row, work.sequence->tokens,
                                                    sampler_scratch[static_cast<std::size_t>(member.index)]);
      } catch (...) {
        work.error = error_at_hand("sampling");
      }
    }
  });
}

/// What is being caught, as an Error that ends one request; where memory ran out, the one that was made before.
std::shared_ptr<const Error> Engine::State::error_at_hand(const char* where) const noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return out_of_memory;
    } catch (const Error& error) {
      return std::make_shared<const Error>(error);
    } catch (const std::exception& error) {
      return std::make_shared<const Error>(ErrorKind::internal, error.what(), where);
    } catch (...) {
      return std::make_shared<const Error>(ErrorKind::internal, "an exception of an unknown kind", where);
    }
  } catch (...) {
    return out_of_memory;
  }
}

/// Chooses and delivers the tokens that the step allows. A sequence's next one is chosen when the one before it has
/// been delivered and equals its draft: so what processors, sinks and cancellation see does not depend on drafts.
void Engine::State::commit(const std::vector<ScheduledSpan>& scheduled) noexcept {
  const bool worthless = !failed.empty();
  endings.swap(failed);  // of the forward; empty as a rule
  failed.clear();
  for (Sampling& work : sampling) open.push_back(&work);
  while (!open.empty()) {
    sample();
    std::erase_if(open, [&](Sampling* work) {
      if (work->error) {
        endings.push_back({work->sequence, FinishReason::error, std::move(work->error)});
        return true;
      }
      const TokenId token = work->token->id;
      const int index = work->n_sampled - 1;
      if (index == 0) work->first_token = token;
      const bool right =
          index < work->n_drafts && work->sequence->drafts.proposed[static_cast<std::size_t>(index)] == token;
      work->n_right += right ? 1 : 0;
      const bool goes_on = deliver(*work->sequence, *work->token);
      return !right || !goes_on || work->sequence->cancelled;
    });
  }
  drafting_ms = 0;
  if (!worthless) keep(scheduled);
  for (const Ending& ending : endings) {
    SequenceList removed = scheduler.remove_if([&](const Sequence& s) { return &s == ending.sequence; });
    finish(removed.front(), ending.reason, ending.error.get());
    if (ending.reason == FinishReason::stop || ending.reason == FinishReason::length)
      idle_prefill.add(std::move(removed));
  }
  publish_stats();
}

bool Engine::State::has_idle_work() const noexcept {
  return !idle_prefill.empty() && scheduler.idle() && !scheduler.is_reading();
}

/// One piece: what arrives meanwhile waits for no more.
void Engine::State::use_idle_time() noexcept {
  Sequence& sequence = idle_prefill.newest();
  const auto& scheduled = scheduler.schedule_idle(sequence, idle_prefill.piece_tokens());
  if (scheduled.empty()) {
    idle_prefill.drop_newest();
    return publish_stats();
  }
  const int n_tokens = scheduled.front().n_tokens;
  const auto begin = Clock::now();
  run(scheduled);
  const bool worthless = !failed.empty();
  failed.clear();
  if (worthless) {
    scheduler.interrupt_idle(sequence);
    idle_prefill.drop_newest();
  } else {
    keep(scheduled);
    scheduler.end_idle_step(sequence);
    idle_prefill.piece_took(n_tokens, ms_between(begin, Clock::now()));
  }
  // No request's tokens.
  tokens.clear();
  spans.clear();
  publish_stats();
  const std::lock_guard lock(mutex);
  stats.idle_prompt_tokens += worthless ? 0 : static_cast<std::uint64_t>(n_tokens);
}

/// False: that was the last one.
bool Engine::State::deliver(Sequence& sequence, const GeneratedToken& token) noexcept {
  const auto now = Clock::now();
  GenerationStats& figures = sequence.stats;
  if (sequence.first_token == Clock::time_point{}) {
    sequence.first_token = now;
    figures.queue_ms = ms_between(sequence.submitted, sequence.started);
    figures.first_token_ms = ms_between(sequence.submitted, now);
    figures.prefill_ms = ms_between(sequence.started, now);
  }
  figures.decode_ms = ms_between(sequence.first_token, now);
  if (std::find(sequence.stop_tokens.begin(), sequence.stop_tokens.end(), token.id) != sequence.stop_tokens.end()) {
    sequence.ended_by = token.id;
    endings.push_back({&sequence, FinishReason::stop, {}});
    return false;
  }
  sequence.tokens.push_back(token.id);
  ++figures.generated_tokens;
  try {
    if (!sequence.sink->on_token(token))
      endings.push_back({&sequence, FinishReason::stop, {}});
    else if (static_cast<int>(sequence.tokens.size()) >= sequence.max_tokens)
      endings.push_back({&sequence, FinishReason::length, {}});
    else
      return true;
  } catch (...) {
    endings.push_back({&sequence, FinishReason::error, error_at_hand("token sink")});
  }
  return false;
}

/// Notes what has been computed: of the drafts those that became tokens with another one behind them. The others' keys
/// and values are written over.
void Engine::State::keep(const std::vector<ScheduledSpan>& scheduled) noexcept {
  computed.clear();
  int first_token = 0;
  auto work = sampling.cbegin();
  for (const ScheduledSpan& span : scheduled) {
    Sequence& sequence = *span.sequence;
    ComputedSpan one{&sequence, first_token, span.n_tokens};
    if (work != sampling.cend() && work->sequence == &sequence) {
      one.n_tokens += work->n_sampled - 1;
      chooser.verified(span, work->first_token, std::min(work->n_sampled, work->n_drafts), work->n_right);
      sequence.stats.drafted_tokens += work->n_drafts;
      sequence.stats.accepted_tokens += work->n_right;
      ++work;
    }
    computed.push_back(one);
    first_token += span.n_tokens + span.n_drafts;
  }
  if (layer_drafter || model_drafter) make_drafts();
  for (const ComputedSpan& one : computed) {
    if (!experts.empty()) count_experts(*one.sequence, one.first_row, one.n_tokens);
    scheduler.computed(*one.sequence, one.n_tokens);
  }
}

/// Has the draft layer take in what was computed and, if the next step will only decode, has that or the draft model
/// say what comes next.
void Engine::State::make_drafts() noexcept {
  const auto begin = Clock::now();
  const auto decodes = [](const ComputedSpan& one) {
    return one.sequence->sink != nullptr && one.sequence->pending() == one.n_tokens + 1;
  };
  const auto ends = [&](const ComputedSpan& one) {
    return one.sequence->cancelled || std::any_of(endings.begin(), endings.end(), [&](const Ending& ending) {
             return ending.sequence == one.sequence;
           });
  };
  const bool only_decodes =
      scheduler.n_waiting() == 0 &&
      std::all_of(computed.begin(), computed.end(), [&](const ComputedSpan& one) { return decodes(one) || ends(one); });
  int n_drafts = 0;
  const auto n_sequences = static_cast<int>(computed.size());
  if (is_computed(options.speculation) && (only_decodes || options.always_draft)) {
    for (ComputedSpan& one : computed) {
      if (!decodes(one) || ends(one)) continue;
      const int n_behind = model_drafter ? model_drafter->n_behind(*one.sequence) : 0;
      const int n_left = one.sequence->max_tokens - static_cast<int>(one.sequence->tokens.size());
      one.n_wanted = std::min(
          n_left - 1, chooser.wanted(one.sequence->drafts, n_behind, one.sequence->stats.decode_ms / n_sequences));
      n_drafts = std::max(n_drafts, one.n_wanted);
    }
  }
  if (layer_drafter) {
    layer_drafter->run(*team, *workspace, scheduler, pool.blocks(), computed, reinterpret_cast<float*>(logits.data()));
    drafting_ms = ms_between(begin, Clock::now());
    if (n_drafts > 0) chooser.drafting_took(n_drafts, drafting_ms);
  } else if (n_drafts > 0) {
    const ModelDrafter::Work work =
        model_drafter->run(*team, scheduler, computed, chooser.room_to_catch_up(), chooser.least_chance(n_sequences));
    drafting_ms = ms_between(begin, Clock::now());
    if (work.n_filled > 0) chooser.catching_up_took(work.n_filled, work.filling_ms);
    if (work.depth > 0) chooser.drafting_took(work.depth, work.drafting_ms);
  }
}

void Engine::State::finish(Sequence& sequence, FinishReason reason, const Error* error) noexcept {
  {
    const std::lock_guard lock(mutex);
    live.erase(sequence.id);
    ++(reason == FinishReason::cancelled ? stats.cancelled
       : reason == FinishReason::error   ? stats.failed
                                         : stats.finished);
  }
  try {
    sequence.sink->on_finish(reason, sequence.stats, error);
  } catch (...) {
    const auto thrown = error_at_hand("sink");
    try {
      log(LogLevel::error, "a sink threw at the end of a request",
          {{"request", sequence.id}, {"what", thrown->what()}});
    } catch (...) {  // no memory for a line of the log: nobody is left to be told
    }
  }
}

void Engine::State::publish_stats() noexcept {
  const std::lock_guard lock(mutex);
  stats.running = scheduler.n_running();
  stats.waiting = scheduler.n_waiting();
  stats.kv_blocks_used = pool.total() - pool.free() - idle_prefill.n_blocks();
  stats.kv_blocks_idle = pool.idle();
  stats.prefix_tokens = scheduler.n_looked_up();
  stats.prefix_tokens_found = scheduler.n_found();
  stats.preemptions = scheduler.n_preemptions();
  stats.steps += tokens.empty() ? 0 : 1;
  for (const BatchSpan& span : spans)
    if (span.role == Role::prompt) stats.prompt_tokens += static_cast<std::uint64_t>(span.n_tokens);
  for (const Sampling& work : sampling) {
    stats.generated_tokens += static_cast<std::uint64_t>(work.n_sampled);
    stats.drafts += work.n_drafts > 0 ? 1 : 0;
    stats.draft_tokens += static_cast<std::uint64_t>(work.n_drafts);
    stats.accepted_tokens += static_cast<std::uint64_t>(work.n_right);
  }
  tokens.clear();
  spans.clear();
  sampling.clear();
}

}  // namespace moebox

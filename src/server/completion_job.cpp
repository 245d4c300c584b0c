#include <mutex>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/log.h"
#include "server/conversation.h"
#include "server/json_fields.h"
#include "server/model_job.h"
#include "server/sse.h"

namespace moebox {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// One request for text: submits its choices, gathers what the engine's thread reports, and answers, whole or as a
/// stream. What the engine's thread does here is to put events into a list; everything else happens on the connection's
/// executor.
class CompletionJob final : public ModelJob {
 public:
  CompletionJob(ServiceContext& context, HttpRequest request, std::shared_ptr<Responder> responder)
      : ModelJob(context, std::move(request), std::move(responder)), tick_timer_(this->responder().executor()) {}

 private:
  struct Event {
    int choice = 0;
    Clock::time_point when;
    TextPiece piece;
    std::optional<TextFinish> finish;  // then `piece` is empty
  };

  struct Choice {
    ReasoningSplitter splitter{Reasoning::none};
    std::string reasoning, text;         // of whole answers, and of logged ones
    std::vector<GeneratedToken> tokens;  // with logprobs that are not sent yet
    long long text_offset = 0;
    int n_tokens = 0;
    Clock::time_point last_token{};
    std::optional<TextFinish> finish;
  };

  /// Reports one choice's events. Keeps the job alive until the engine is done with it. The engine lets go of it
  /// whatever happens: an end that could not be told for want of memory is noticed then.
  class Listener final : public TextListener {
   public:
    Listener(std::shared_ptr<CompletionJob> job, int choice) : job_(std::move(job)), choice_(choice) {}
    ~Listener() override {
      if (!finished_) job_->report_lost(choice_);
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    void on_piece(const TextPiece& piece) override { job_->report({choice_, Clock::now(), piece, std::nullopt}); }
    void on_finish(const TextFinish& finish) override {
      job_->report({choice_, Clock::now(), {}, finish});
      finished_ = true;
    }

   private:
    const std::shared_ptr<CompletionJob> job_;
    const int choice_;
    bool finished_ = false;
  };

  std::shared_ptr<CompletionJob> self() { return std::static_pointer_cast<CompletionJob>(shared_from_this()); }

  // On a worker.
  void run() override;
  std::vector<TokenId> encode(const Prompt* prompt);
  int answer_limit(int prompt_tokens) const;
  void submit();

  // On any thread.
  void report(Event event);
  void report_lost(int choice) noexcept;
  void wake() noexcept;
  void cancel_all();

  // On the executor.
  void begin();
  void drain_events();
  void take_events();
  void take_lost();
  void lose_what_runs() noexcept;
  void take_piece(Choice& choice, int index, Event& event);
  void take_finish(Choice& choice, int index, Event& event);
  void keep(Choice& choice, const ReasoningSplitter::Parts& parts);
  void complete();
  void complete_whole(const Error* failure);
  void send_chunk(int index, ChoiceNews news);
  void account();
  void schedule_tick();
  void flush();
  void on_gone() override { cancel_all(); }
  void on_failed() override {
    given_up_ = true;
    tick_timer_.cancel();
  }
  Json logprobs(Choice& choice);
  Usage usage() const;

  AnswerHead head_;
  Reasoning reasoning_ = Reasoning::none;
  std::vector<std::vector<TokenId>> prompts_;
  std::vector<Choice> choices_;
  bool begun_ = false, given_up_ = false;
  int n_finished_ = 0;
  std::string out_;  // events of a stream that are not written yet
  Clock::time_point last_write_{};
  boost::asio::steady_timer tick_timer_;

  std::mutex mutex_;
  std::vector<Event> events_;
  std::vector<char> lost_;  // (choices) 1: its end could not be told; made before anything runs
  std::vector<RequestId> ids_;
  bool wake_posted_ = false, cancelled_ = false;
};

// ---------------------------------------------------------------------------------------------------------------- on a
// worker

void CompletionJob::run() {
  head_.endpoint = request().endpoint;
  head_.id = random_id(head_.endpoint == Endpoint::chat ? "chatcmpl-" : "cmpl-");
  head_.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  head_.model = model().name;
  if (head_.endpoint == Endpoint::chat)
    prompts_.push_back(encode(nullptr));
  else
    for (const Prompt& prompt : request().prompts) prompts_.push_back(encode(&prompt));
  if (context().options.log_prompts) {
    for (const auto& ids : prompts_) {
      log(LogLevel::info, "prompt",
          {{"request_id", http().request_id}, {"text", lease()->tokenizer().decode(ids, true)}});
    }
  }
  // Without a generation prompt it is not the assistant who goes on.
  if (head_.endpoint == Endpoint::chat && request().template_options.add_generation_prompt)
    reasoning_ = lease()->reasoning(prompts_.front());
  submit();
  boost::asio::post(responder().executor(), [self = self()] { self->begin(); });
}

/// Ids of one prompt, checked against the vocabulary and the context; of the conversation for nullptr.
std::vector<TokenId> CompletionJob::encode(const Prompt* prompt) {
  const Backend& backend = *lease();
  const ApiRequest& in = request();
  const std::string field = prompt == nullptr ? "messages" : "prompt";
  std::vector<TokenId> ids;
  if (prompt == nullptr) {
    ids = encode_conversation(backend, in.messages, in.template_options);
  } else if (const auto* tokens = std::get_if<std::vector<TokenId>>(prompt)) {
    ids = *tokens;
    for (const TokenId id : ids) {
      if (id >= backend.vocab_size())
        refuse_value(field, "holds the token " + std::to_string(id) + ", but the vocabulary ends before " +
                                std::to_string(backend.vocab_size()) + ".");
    }
  } else if (in.suffix) {
    try {
      ids = backend.encode_infill(std::get<std::string>(*prompt), *in.suffix);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::unsupported)
        throw ApiException(bad_request(error.message(), "suffix", "unsupported"));
      throw;
    }
  } else {
    ids = backend.tokenizer().encode(std::get<std::string>(*prompt), in.add_special_tokens, in.parse_special);
  }
  if (ids.empty()) refuse_value(field, "has no tokens.");
  answer_limit(static_cast<int>(ids.size()));
  return ids;
}

/// How many tokens may follow a prompt; throws when it leaves no room for those that were asked for.
int CompletionJob::answer_limit(int prompt_tokens) const {
  const ServerLimits& limits = context().options.limits;
  const ApiRequest& in = request();
  const std::string field = in.endpoint == Endpoint::chat ? "messages" : "prompt";
  const int room = lease()->context_tokens() - prompt_tokens;
  const int context_tokens = room + prompt_tokens;
  if (limits.prompt_tokens > 0 && prompt_tokens > limits.prompt_tokens) {
    throw ApiException(bad_request("The prompt has " + std::to_string(prompt_tokens) +
                                       " tokens; this server takes at most " + std::to_string(limits.prompt_tokens) +
                                       ".",
                                   field, "context_length_exceeded"));
  }
  if (room < 1 || (in.max_tokens && *in.max_tokens > room)) {
    std::string message = "This model's maximum context length is " + std::to_string(context_tokens) +
                          " tokens, but the prompt has " + std::to_string(prompt_tokens);
    message += in.max_tokens ? " and " + std::to_string(*in.max_tokens) + " more were asked for." : ".";
    throw ApiException(
        bad_request(message + " Shorten the prompt or ask for fewer.", field, "context_length_exceeded"));
  }
  int most = in.max_tokens.value_or(room);
  if (limits.output_tokens > 0) most = std::min(most, limits.output_tokens);
  return most;
}

void CompletionJob::submit() {
  const ApiRequest& in = request();
  in.sampling.validate(lease()->vocab_size());
  for (const TokenId id : in.stop_token_ids) {
    if (id >= lease()->vocab_size()) refuse_value("stop_token_ids", "holds a token outside the vocabulary.");
  }
  choices_.resize(prompts_.size() * static_cast<std::size_t>(in.n));
  for (Choice& choice : choices_) choice.splitter = ReasoningSplitter(reasoning_);
  lost_.resize(choices_.size());
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const auto& prompt = prompts_[i / static_cast<std::size_t>(in.n)];
    TextRequest text;
    text.generation.prompt = prompt;
    text.generation.sampling = in.sampling;
    text.generation.budget = in.budget.value_or(lease()->budget());
    if (!context().options.share_prefixes) {
      text.generation.prefix_scope = static_cast<std::uint64_t>(http().caller);
      if (!context().keys.empty()) text.generation.prefix_owner = context().keys.digest(http().caller);
    }
    text.generation.max_new_tokens = answer_limit(static_cast<int>(prompt.size()));
    text.generation.stop_tokens = in.stop_token_ids;
    text.generation.choice = static_cast<int>(i % static_cast<std::size_t>(in.n));
    text.stop_strings = in.stop;
    text.ignore_end = in.ignore_eos;
    text.show_control = !in.skip_special_tokens;
    try {
      const RequestId id = lease()->generate(std::move(text), std::make_shared<Listener>(self(), static_cast<int>(i)));
      const std::lock_guard lock(mutex_);
      ids_.push_back(id);
      if (cancelled_) lease()->cancel(id);
    } catch (...) {
      cancel_all();
      throw;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- on
// any thread

void CompletionJob::report(Event event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  wake();
}

void CompletionJob::report_lost(int choice) noexcept {
  const std::lock_guard lock(mutex_);
  lost_[static_cast<std::size_t>(choice)] = 1;
  wake();
}

/// Lets the executor look; where there is no memory to ask it, the next tick does. Call with mutex_ held.
void CompletionJob::wake() noexcept {
  if (wake_posted_) return;
  try {
    boost::asio::post(responder().executor(), [self = self()] { self->drain_events(); });
    wake_posted_ = true;
  } catch (const std::bad_alloc&) {
  }
}

void CompletionJob::cancel_all() {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  // Without ids there may be no lease either: a worker is about to take it.
  for (const RequestId id : ids_) {
    if (lease()) lease()->cancel(id);
  }
}

// ---------------------------------------------------------------------------------------------------------------- on
// the executor

void CompletionJob::begin() {
  begun_ = true;
  schedule_tick();
  if (request().stream && !gone()) {
    HttpResponse head;
    head.content_type = "text/event-stream; charset=utf-8";
    head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    responder().begin(std::move(head));
    for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
      if (request().endpoint == Endpoint::chat) {
        ChoiceNews news;
        news.first = true;
        send_chunk(i, std::move(news));
      }
    }
    last_write_ = Clock::now();
  }
  if (request().echo) {
    for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
      const std::size_t which = static_cast<std::size_t>(i / request().n);
      const auto* given = std::get_if<std::string>(&request().prompts[which]);
      ChoiceNews news;
      news.text = given != nullptr ? *given : lease()->tokenizer().decode(prompts_[which], true);
      if (request().stream)
        send_chunk(i, std::move(news));
      else
        choices_[static_cast<std::size_t>(i)].text = std::move(news.text);
    }
  }
  drain_events();
}

void CompletionJob::drain_events() {
  // Events that come before begin() wait for it; after a failure nobody waits for them.
  if (!begun_ || given_up_ || !lease()) return;
  try {
    take_events();
  } catch (const std::bad_alloc&) {
    lose_what_runs();
  }
}

void CompletionJob::take_events() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
    wake_posted_ = false;
  }
  for (Event& event : events) {
    Choice& choice = choices_[static_cast<std::size_t>(event.choice)];
    if (choice.finish) continue;  // lost before
    if (event.finish)
      take_finish(choice, event.choice, event);
    else
      take_piece(choice, event.choice, event);
  }
  take_lost();
  if (n_finished_ == static_cast<int>(choices_.size()))
    complete();
  else
    flush();
}

/// Ends the choices that nobody will report about any more.
void CompletionJob::take_lost() {
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    {
      const std::lock_guard lock(mutex_);
      if (lost_[i] == 0 || choices_[i].finish) continue;
    }
    Event event;
    event.choice = static_cast<int>(i);
    event.finish.emplace();
    event.finish->reason = FinishReason::error;
    event.finish->error.emplace(ErrorKind::resource, "there was no memory to tell the end of this answer");
    take_finish(choices_[i], event.choice, event);
  }
}

/// There was no memory for what had been told: what is missing now is missing for good. The next look ends the answer.
void CompletionJob::lose_what_runs() noexcept {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < choices_.size(); ++i)
    if (!choices_[i].finish) lost_[i] = 1;
  out_.clear();
}

void CompletionJob::take_piece(Choice& choice, int index, Event& event) {
  ModelMetrics& metrics = context().metrics.model(model().name);
  if (choice.n_tokens++ > 0) metrics.inter_token_s.observe(ms_between(choice.last_token, event.when) / 1000);
  choice.last_token = event.when;
  ReasoningSplitter::Parts parts = choice.splitter.push(event.piece.text);
  if (gone()) return;
  if (request().logprobs) choice.tokens.push_back(std::move(event.piece.token));
  keep(choice, parts);
  const bool silent = parts.answer.empty() && parts.reasoning.empty();
  if (!request().stream || (silent && !request().logprobs)) return;
  ChoiceNews news;
  news.text = std::move(parts.answer);
  news.reasoning = std::move(parts.reasoning);
  news.logprobs = logprobs(choice);
  send_chunk(index, std::move(news));
}

void CompletionJob::take_finish(Choice& choice, int index, Event& event) {
  choice.finish = std::move(event.finish);
  ++n_finished_;
  const TextFinish& finish = *choice.finish;
  ReasoningSplitter::Parts parts = choice.splitter.finish(finish.text);
  if (gone()) return;
  const bool whole = finish.reason == FinishReason::stop || finish.reason == FinishReason::length;
  keep(choice, parts);
  if (!whole) return cancel_all();
  if (!request().stream) return;
  if (!parts.answer.empty() || !parts.reasoning.empty()) {
    ChoiceNews rest;
    rest.text = std::move(parts.answer);
    rest.reasoning = std::move(parts.reasoning);
    send_chunk(index, std::move(rest));
  }
  ChoiceNews last;
  last.finish = finish_name(finish.reason);
  send_chunk(index, std::move(last));
}

void CompletionJob::keep(Choice& choice, const ReasoningSplitter::Parts& parts) {
  if (request().stream && !context().options.log_prompts) return;
  choice.text += parts.answer;
  choice.reasoning += parts.reasoning;
}

Json CompletionJob::logprobs(Choice& choice) {
  if (!request().logprobs) return nullptr;
  const Tokenizer& tokenizer = lease()->tokenizer();
  Json result = request().endpoint == Endpoint::chat
                    ? chat_logprobs(tokenizer, choice.tokens)
                    : completion_logprobs(tokenizer, choice.tokens, choice.text_offset);
  choice.tokens.clear();
  return result;
}

void CompletionJob::send_chunk(int index, ChoiceNews news) {
  news.index = index;
  Json usage_field = nullptr;
  if (request().continuous_usage) usage_field = usage_json(usage());
  const bool shows_usage = request().include_usage || request().continuous_usage;
  out_ += sse_event(to_text(
      event_json(head_, Json::array({chunk_json(head_.endpoint, news)}), shows_usage ? &usage_field : nullptr)));
}

void CompletionJob::flush() {
  if (out_.empty() || gone()) return;
  last_write_ = Clock::now();
  const bool taken = responder().write(out_);
  out_.clear();
  if (taken) return;
  if (!gone()) {
    ++context().metrics.slow_readers;
    log(LogLevel::warning, "slow_reader_dropped", {{"request_id", http().request_id}});
    mark_gone();
  }
  cancel_all();
}

/// Every now and then: a stream that has nothing to say pings, and what could not be told at once is looked for.
void CompletionJob::schedule_tick() {
  tick_timer_.expires_after(context().options.ping_time);
  tick_timer_.async_wait([job = self()](const boost::system::error_code& error) {
    if (error || job->given_up_ || !job->lease()) return;
    job->schedule_tick();
    job->drain_events();
    if (!job->request().stream || job->gone() || !job->lease()) return;
    if (Clock::now() - job->last_write_ < job->context().options.ping_time) return;
    job->out_ += sse_ping();
    job->flush();
  });
}

/// Prompts once each, as their first choices met them in the cache, and every token that was sampled, the one that
/// ended an answer included.
Usage CompletionJob::usage() const {
  Usage sum;
  for (const auto& prompt : prompts_) sum.prompt_tokens += static_cast<long long>(prompt.size());
  if (reasoning_ != Reasoning::none) sum.reasoning_tokens = 0;
  const auto n = static_cast<std::size_t>(request().n);
  for (std::size_t i = 0; i < choices_.size(); i += n)
    if (choices_[i].finish) sum.cached_tokens += choices_[i].finish->stats.cached_tokens;
  for (const Choice& choice : choices_) {
    sum.completion_tokens += choice.n_tokens;
    if (sum.reasoning_tokens) *sum.reasoning_tokens += choice.splitter.n_reasoning_tokens();
    if (choice.finish) sum.moe += choice.finish->stats.moe;
    if (choice.finish && choice.finish->reason == FinishReason::stop && choice.finish->matched_stop.empty())
      ++sum.completion_tokens;
  }
  return sum;
}

void CompletionJob::complete() {
  tick_timer_.cancel();
  account();
  const Error* failure = nullptr;
  const Error shutdown(ErrorKind::cancelled, "the server is shutting down");
  for (const Choice& choice : choices_) {
    if (choice.finish->reason == FinishReason::error) {
      static const Error unknown(ErrorKind::internal, "the engine gave no reason");
      failure = choice.finish->error ? &*choice.finish->error : &unknown;
      break;
    }
    if (choice.finish->reason == FinishReason::cancelled) failure = &shutdown;
  }
  if (!gone()) {
    if (failure != nullptr && failure != &shutdown) {
      log(LogLevel::error, "generation_failed",
          {{"request_id", http().request_id}, {"kind", name(failure->kind())}, {"error", failure->what()}});
    }
    if (request().stream) {
      if (failure != nullptr)
        out_ += sse_event(to_api_error(*failure, http().request_id).body());
      else if (request().include_usage) {
        const Json sum = usage_json(usage());
        out_ += sse_event(to_text(event_json(head_, Json::array(), &sum)));
      }
      out_ += sse_done();
      flush();
      responder().end();
    } else {
      complete_whole(failure);
    }
  }
  lease().reset();
}

void CompletionJob::complete_whole(const Error* failure) {
  if (failure != nullptr) return responder().send(error_response(to_api_error(*failure, http().request_id)));
  Json choices = Json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    ChoiceNews news;
    news.index = static_cast<int>(i);
    news.logprobs = logprobs(choice);
    news.text = std::move(choice.text);
    news.reasoning = std::move(choice.reasoning);
    news.finish = finish_name(choice.finish->reason);
    choices.push_back(choice_json(head_.endpoint, news));
  }
  responder().send(json_response(answer_json(head_, std::move(choices), usage())));
}

/// Metrics, quota and the log: once, when every choice is done, whether anybody still listens or not.
void CompletionJob::account() {
  ModelMetrics& metrics = context().metrics.model(model().name);
  const auto now = Clock::now();
  const Usage sum = usage();
  metrics.prompt_tokens += static_cast<std::uint64_t>(sum.prompt_tokens);
  metrics.generation_tokens += static_cast<std::uint64_t>(sum.completion_tokens);
  metrics.e2e_s.observe(ms_between(http().arrived, now) / 1000);
  context().limiter.charge_tokens(http().caller, static_cast<double>(sum.prompt_tokens + sum.completion_tokens));
  double first_token_ms = 0, queue_ms = 0;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const TextFinish& finish = *choices_[i].finish;
    const GenerationStats& stats = finish.stats;
    const auto reason = finish.reason == FinishReason::stop     ? ModelMetrics::stop
                        : finish.reason == FinishReason::length ? ModelMetrics::length
                        : finish.reason == FinishReason::error  ? ModelMetrics::error
                                                                : ModelMetrics::abort;
    ++metrics.finished[reason];
    metrics.preemptions += static_cast<std::uint64_t>(stats.preemptions);
    metrics.add(stats.moe);
    metrics.prompt_length.observe(static_cast<double>(prompts_[i / static_cast<std::size_t>(request().n)].size()));
    metrics.output_length.observe(stats.generated_tokens);
    metrics.queue_s.observe(stats.queue_ms / 1000);
    queue_ms = std::max(queue_ms, stats.queue_ms);
    if (stats.generated_tokens == 0) continue;
    metrics.time_to_first_token_s.observe(stats.first_token_ms / 1000);
    metrics.prefill_s.observe(stats.prefill_ms / 1000);
    metrics.decode_s.observe(stats.decode_ms / 1000);
    if (stats.generated_tokens > 1)
      metrics.time_per_output_token_s.observe(stats.decode_ms / 1000 / (stats.generated_tokens - 1));
    first_token_ms = std::max(first_token_ms, stats.first_token_ms);
  }
  const FinishReason first = choices_.front().finish->reason;
  log(LogLevel::info, "completion",
      {{"request_id", http().request_id},
       {"model", model().name},
       {"stream", request().stream},
       {"choices", choices_.size()},
       {"prompt_tokens", sum.prompt_tokens},
       {"cached_tokens", sum.cached_tokens},
       {"completion_tokens", sum.completion_tokens},
       {"finish", gone()                         ? "abort"
                  : first == FinishReason::error ? "error"
                                                 : finish_name(first)},
       {"queue_ms", queue_ms},
       {"first_token_ms", first_token_ms},
       {"ms", ms_between(http().arrived, now)}});
  if (context().options.log_prompts) {
    for (const Choice& choice : choices_)
      log(LogLevel::info, "answer",
          {{"request_id", http().request_id}, {"reasoning", choice.reasoning}, {"text", choice.text}});
  }
}

}  // namespace

std::shared_ptr<ModelJob> make_completion_job(ServiceContext& context, HttpRequest request,
                                              std::shared_ptr<Responder> responder) {
  return std::make_shared<CompletionJob>(context, std::move(request), std::move(responder));
}

}  // namespace moebox

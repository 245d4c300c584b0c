#include "runtime/engine.h"

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "runtime/evaluate.h"

namespace moebox {
namespace {

/// Collects one sequence; wait() returns when it has ended.
class Collector final : public GenerationSink {
 public:
  explicit Collector(int stop_after = 1 << 30) : stop_after_(stop_after) {}

  bool on_token(const GeneratedToken& token) override {
    const std::lock_guard lock(mutex_);
    tokens.push_back(token.id);
    logprobs.push_back(token.logprob);
    changed_.notify_all();
    return static_cast<int>(tokens.size()) < stop_after_;
  }
  void on_finish(FinishReason why, const GenerationStats& figures, const Error* error) override {
    const std::lock_guard lock(mutex_);
    reason = why;
    stats = figures;
    failed = error != nullptr;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::minutes(2), [&] { return reason.has_value(); }))
        << "the sequence never ended";
  }
  void wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::minutes(2), [&] { return tokens.size() >= count || reason; }));
  }

  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::optional<FinishReason> reason;
  GenerationStats stats;
  bool failed = false;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int stop_after_;
};

/// The tiny models' files stay open: their embeddings are read from them.
const Checkpoint& tiny_checkpoint(bool latent) {
  static const Checkpoint llama = Checkpoint::open(MOEBOX_TEST_DIR "/golden/transformers/models/llama_gqa");
  static const Checkpoint deepseek = Checkpoint::open(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3");
  return latent ? deepseek : llama;
}

std::unique_ptr<Engine> tiny_engine(EngineOptions options, bool latent = false, KvType kv_type = KvType::f16) {
  const Checkpoint& checkpoint = tiny_checkpoint(latent);
  auto team = std::make_unique<ThreadTeam>(options.n_threads == 0 ? 2 : options.n_threads);
  auto model = load_model(checkpoint, *team, {.kv_type = kv_type});
  return std::make_unique<Engine>(std::move(model), std::move(team), options);
}

GenerationRequest request_of(int n_prompt, int n_new, unsigned seed, int vocab) {
  std::mt19937 random(seed);
  GenerationRequest request;
  for (int i = 0; i < n_prompt; ++i)
    request.prompt.push_back(static_cast<TokenId>(random() % static_cast<unsigned>(vocab)));
  request.sampling.seed = seed;
  request.sampling.n_logprobs = 0;
  request.max_new_tokens = n_new;
  return request;
}

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  bool operator==(const Answer& other) const {
    return tokens == other.tokens && logprobs.size() == other.logprobs.size() &&
           std::memcmp(logprobs.data(), other.logprobs.data(), logprobs.size() * sizeof(float)) == 0;
  }
};

std::vector<Answer> run_all(Engine& engine, int n_requests, int* preemptions = nullptr) {
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < n_requests; ++i) {
    sinks.push_back(std::make_shared<Collector>());
    engine.submit(request_of(5 + i % 17, 40, static_cast<unsigned>(i), engine.model().vocab_size), sinks.back());
  }
  std::vector<Answer> answers;
  for (const auto& sink : sinks) {
    sink->wait();
    EXPECT_EQ(sink->reason, FinishReason::length);
    answers.push_back({sink->tokens, sink->logprobs});
    if (preemptions != nullptr) *preemptions += sink->stats.preemptions;
  }
  return answers;
}

/// Latent attention computes prompt and answer differently: tokens that are computed again must keep their role.
struct CachedModel {
  bool latent;
  KvType kv_type;
  const char* name;
};

class EngineRoles : public testing::TestWithParam<CachedModel> {
 protected:
  static std::unique_ptr<Engine> engine(const EngineOptions& options) {
    return tiny_engine(options, GetParam().latent, GetParam().kv_type);
  }
};
INSTANTIATE_TEST_SUITE_P(Models, EngineRoles,
                         testing::Values(CachedModel{false, KvType::f16, "dense"},
                                         CachedModel{true, KvType::f16, "latent"},
                                         CachedModel{false, KvType::q8_0, "dense_q8_0"},
                                         CachedModel{true, KvType::q8_0, "latent_q8_0"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EngineRoles, AnswersAreTheSameAloneTogetherAndAfterPreemption) {
  EngineOptions options;
  options.context_tokens = 64;
  const auto together = engine(options);
  const auto expected = run_all(*together, 32);

  options.max_sequences = 1;
  options.n_threads = 1;
  options.max_batch_tokens = 3;
  EXPECT_EQ(run_all(*engine(options), 32), expected);

  EngineOptions tight;
  tight.context_tokens = 64;
  tight.kv_bytes = together->model().kv_block_bytes() * 7;  // memory for three of them
  int preemptions = 0;
  EXPECT_EQ(run_all(*engine(tight), 32, &preemptions), expected);
  EXPECT_GT(preemptions, 0);
}

TEST(Engine, CountsWhatTheGatesChose) {
  EngineOptions options;
  options.context_tokens = 64;
  const auto engine = tiny_engine(options, true);
  const MoeInfo& moe = engine->model().moe;
  std::uint64_t n_experts = 0;
  for (const int most : {0, 1, 2}) {
    GenerationRequest request = request_of(6, 5, 3, engine->model().vocab_size);
    request.budget.max_experts = most;
    const auto sink = std::make_shared<Collector>();
    engine->submit(std::move(request), sink);
    sink->wait();
    const MoeUsage& usage = sink->stats.moe;
    const std::int64_t choices = moe.n_layers * (6 + 5 - 1);  // the last token of an answer is not computed any more
    const int kept = most == 0 ? moe.top_k : most;
    ASSERT_EQ(usage.histogram.size(), static_cast<std::size_t>(moe.top_k) + 1);
    EXPECT_EQ(usage.histogram[static_cast<std::size_t>(kept)], choices);
    EXPECT_EQ(usage.n_choices(), choices);
    EXPECT_EQ(usage.experts_per_token(), kept);
    EXPECT_EQ(usage.dropped_share() > 0, most != 0);
    EXPECT_EQ(usage.saved_against_own_k(), choices * (moe.top_k - kept) * moe.parameters_per_expert);
    EXPECT_GT(usage.active_parameters(), 0.0);
    EXPECT_LT(usage.active_parameters(), 1.0);
    n_experts += static_cast<std::uint64_t>(usage.n_experts());
  }
  const std::vector<ExpertLoad> layers = engine->stats().expert_load;
  ASSERT_EQ(layers.size(), static_cast<std::size_t>(moe.n_layers));
  for (const ExpertLoad& layer : layers) {
    EXPECT_EQ(layer.n_chosen, n_experts / layers.size());
    EXPECT_GE(layer.max_over_mean, 1.0);
    EXPECT_LE(layer.max_over_mean, moe.n_experts);
    EXPECT_GT(layer.entropy, 0.0);
    EXPECT_LE(layer.entropy, 1.0 + 1e-12);
  }
}

TEST(Evaluator, KeepsABudgetAndCountsAsTheEngineDoes) {
  EngineOptions options;
  options.context_tokens = 64;
  const auto engine = tiny_engine(options, true);
  GenerationRequest request = request_of(20, 1, 3, engine->model().vocab_size);
  request.budget.top_p = 0.6f;
  const std::vector<TokenId> prompt = request.prompt;
  const auto sink = std::make_shared<Collector>();
  engine->submit(std::move(request), sink);
  sink->wait();

  ThreadTeam team(2);
  const auto model = load_model(tiny_checkpoint(true), team);
  const auto logits_of = [&](Evaluator& evaluator) {
    std::vector<float> all;
    evaluator.run(prompt, [&](int, std::span<const float> rows) { all.insert(all.end(), rows.begin(), rows.end()); });
    return all;
  };
  Evaluator evaluator(*model, team, 64, 7);
  const auto without = logits_of(evaluator);
  EXPECT_EQ(evaluator.usage().dropped_share(), 0);
  evaluator.set_budget({.top_p = 0.6f});
  EXPECT_NE(logits_of(evaluator), without);
  EXPECT_EQ(evaluator.usage().histogram, sink->stats.moe.histogram);
  EXPECT_NEAR(evaluator.usage().dropped_mass, sink->stats.moe.dropped_mass, 1e-9);
  evaluator.set_budget({});
  EXPECT_EQ(logits_of(evaluator), without);

  EXPECT_THROW(evaluator.set_budget({.top_p = 0.0f}), Error);
  const auto dense = load_model(tiny_checkpoint(false), team);
  EXPECT_THROW(Evaluator(*dense, team, 64, 7).set_budget({}), Error);
}

TEST(Engine, ABudgetThatTheModelCannotKeepIsRefused) {
  EngineOptions options;
  options.context_tokens = 64;
  GenerationRequest request = request_of(6, 5, 3, 100);
  request.budget.max_experts = 4;  // the model's own number is 3
  const auto latent = tiny_engine(options, true);
  EXPECT_THROW(latent->submit(request, std::make_shared<Collector>()), Error);
  request.budget = {};
  request.budget.top_p = 0.5f;
  const auto dense = tiny_engine(options);
  EXPECT_THROW(dense->submit(request, std::make_shared<Collector>()), Error);
}

TEST(Engine, ACancelledSequenceEndsAndFreesItsBlocks) {
  EngineOptions options;
  options.context_tokens = 64;
  const auto engine = tiny_engine(options);
  auto sink = std::make_shared<Collector>();
  GenerationRequest request = request_of(4, 50, 1, engine->model().vocab_size);
  const RequestId id = engine->submit(std::move(request), sink);
  engine->cancel(id);
  sink->wait();
  EXPECT_TRUE(sink->reason == FinishReason::cancelled || sink->reason == FinishReason::length);
  engine->cancel(id);      // again, and
  engine->cancel(999999);  // one that never was
  for (int i = 0; i < 200 && engine->stats().kv_blocks_used != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

TEST(Engine, TheSinkMayEndTheAnswerAndStopTokensAreNotDelivered) {
  EngineOptions options;
  options.context_tokens = 64;
  const auto engine = tiny_engine(options);
  const int vocab = engine->model().vocab_size;
  auto all = std::make_shared<Collector>();
  engine->submit(request_of(6, 20, 3, vocab), all);
  all->wait();
  auto three = std::make_shared<Collector>(3);
  engine->submit(request_of(6, 20, 3, vocab), three);
  three->wait();
  EXPECT_EQ(three->tokens, std::vector<TokenId>(all->tokens.begin(), all->tokens.begin() + 3));
  EXPECT_EQ(three->reason, FinishReason::stop);
  GenerationRequest request = request_of(6, 20, 3, vocab);
  request.stop_tokens = {all->tokens[5]};
  auto stopped = std::make_shared<Collector>();
  engine->submit(std::move(request), stopped);
  stopped->wait();
  EXPECT_EQ(stopped->reason, FinishReason::stop);
  EXPECT_LE(stopped->tokens.size(), 5u);
}

TEST(Engine, TheContextEndsTheAnswer) {
  EngineOptions options;
  options.context_tokens = 40;
  const auto engine = tiny_engine(options);
  auto sink = std::make_shared<Collector>();
  engine->submit(request_of(30, 1000000, 1, engine->model().vocab_size), sink);
  sink->wait();
  EXPECT_EQ(sink->reason, FinishReason::length);
  EXPECT_EQ(sink->tokens.size(), 10u);
}

TEST(Engine, WhatCanNeverRunIsRefused) {
  EngineOptions options;
  options.context_tokens = 40;
  options.max_queued = 2;
  options.max_sequences = 1;
  const auto engine = tiny_engine(options);
  const int vocab = engine->model().vocab_size;
  const auto kind_of = [&](GenerationRequest request) -> std::optional<ErrorKind> {
    try {
      engine->submit(std::move(request), std::make_shared<Collector>());
    } catch (const Error& error) {
      return error.kind();
    }
    return {};
  };
  EXPECT_EQ(kind_of(request_of(0, 5, 1, vocab)), ErrorKind::invalid_argument);
  EXPECT_EQ(kind_of(request_of(40, 5, 1, vocab)), ErrorKind::invalid_argument);
  GenerationRequest outside = request_of(3, 5, 1, vocab);
  outside.prompt[1] = vocab;
  EXPECT_EQ(kind_of(outside), ErrorKind::invalid_argument);
  outside.prompt[1] = -1;
  EXPECT_EQ(kind_of(outside), ErrorKind::invalid_argument);
  std::optional<ErrorKind> refused;
  for (int i = 0; i < 100 && !refused; ++i) refused = kind_of(request_of(3, 30, 1, vocab));
  EXPECT_EQ(refused, ErrorKind::resource);
  EXPECT_THROW(tiny_engine({.context_tokens = 1 << 20}), Error);
  EXPECT_THROW(tiny_engine({.context_tokens = 64, .kv_bytes = 1}), Error);
}

class Thrower final : public LogitProcessor {
 public:
  void apply(std::span<float>, std::span<const TokenId>) override {
    throw Error(ErrorKind::invalid_argument, "this grammar is broken");
  }
};

TEST(Engine, AProcessorThatThrowsEndsItsOwnSequenceOnly) {
  const auto engine = tiny_engine({.context_tokens = 64});
  const int vocab = engine->model().vocab_size;
  auto good = std::make_shared<Collector>(), bad = std::make_shared<Collector>();
  GenerationRequest broken = request_of(5, 20, 2, vocab);
  broken.processors.push_back(std::make_shared<Thrower>());
  engine->submit(request_of(5, 20, 1, vocab), good);
  engine->submit(std::move(broken), bad);
  good->wait();
  bad->wait();
  EXPECT_EQ(good->reason, FinishReason::length);
  EXPECT_EQ(bad->reason, FinishReason::error);
  EXPECT_TRUE(bad->failed);
}

TEST(Engine, ShutdownCancelsWhatRuns) {
  auto sink = std::make_shared<Collector>();
  {
    const auto engine = tiny_engine({.context_tokens = 64});
    engine->submit(request_of(4, 60, 1, engine->model().vocab_size), sink);
  }
  EXPECT_TRUE(sink->reason.has_value());
}

TEST(Engine, ManyThreadsSubmitAndCancelAtOnce) {
  const auto engine = tiny_engine({.context_tokens = 64, .max_sequences = 8});
  std::vector<std::thread> clients;
  std::atomic<int> ended{0};
  for (unsigned c = 0; c < 8; ++c)
    clients.emplace_back([&, c] {
      for (unsigned i = 0; i < 10; ++i) {
        auto sink = std::make_shared<Collector>();
        const RequestId id =
            engine->submit(request_of(3 + static_cast<int>(i), 12, c * 100 + i, engine->model().vocab_size), sink);
        if (i % 3 == 0) {
          sink->wait_for_tokens(2);
          engine->cancel(id);
        }
        sink->wait();
        ++ended;
      }
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(ended, 80);
}

}  // namespace
}  // namespace moebox

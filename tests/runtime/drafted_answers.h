// Answers with all that sinks, processors and the books see of them, to be compared by bits: with drafts and without.
#pragma once

#include <cstring>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "runtime/engine.h"

namespace moebox::test {

using Ids = std::vector<TokenId>;

struct DraftedAnswer {
  Ids tokens, accepted;
  std::vector<float> logprobs, top;
  std::uint64_t logits = 14695981039346656037u;  // FNV-1a of all that the processor saw
  FinishReason reason{};
  GenerationStats stats;
};

class DraftSink final : public GenerationSink {
 public:
  bool on_token(const GeneratedToken& token) override {
    answer.tokens.push_back(token.id);
    answer.logprobs.push_back(token.logprob);
    for (const TokenLogprob& entry : token.top) answer.top.push_back(entry.logprob);
    return !on_each || on_each(static_cast<int>(answer.tokens.size()));
  }
  void on_finish(FinishReason reason, const GenerationStats& stats, const Error*) override {
    answer.reason = reason;
    answer.stats = stats;
    done_.set_value();
  }
  void wait() { ASSERT_EQ(done_.get_future().wait_for(std::chrono::minutes(2)), std::future_status::ready); }

  DraftedAnswer answer;
  std::function<bool(int)> on_each;

 private:
  std::promise<void> done_;
};

/// Remembers the bits of the logits and the tokens that it is told of; a script leaves one token to choose.
class Witness final : public LogitProcessor {
 public:
  explicit Witness(DraftedAnswer& answer, Ids script = {}) : answer_(answer), script_(std::move(script)) {}
  void apply(std::span<float> logits, std::span<const TokenId> tokens) override {
    const auto mix = [&](std::uint64_t value) { answer_.logits = (answer_.logits ^ value) * 1099511628211u; };
    mix(tokens.size());
    for (const TokenId id : tokens) mix(static_cast<std::uint64_t>(id));
    for (const float logit : logits) {
      std::uint32_t bits;
      std::memcpy(&bits, &logit, sizeof bits);
      mix(bits);
    }
    const std::size_t n = answer_.accepted.size();
    if (script_.empty()) return;
    const auto chosen = static_cast<std::size_t>(script_[n % script_.size()]);
    for (std::size_t i = 0; i < logits.size(); ++i)
      if (i != chosen) logits[i] = -std::numeric_limits<float>::infinity();
  }
  void accept(TokenId token) override { answer_.accepted.push_back(token); }

 private:
  DraftedAnswer& answer_;
  Ids script_;
};

/// `draft`: the second model of Speculation::draft.
inline std::unique_ptr<Engine> make_engine(const Checkpoint& checkpoint, EngineOptions options, Isa isa,
                                           std::size_t n_blocks, const Checkpoint* draft = nullptr) {
  auto team = std::make_unique<ThreadTeam>(2);
  ModelOptions model_options;
  model_options.kernels = &kernel_table(isa);
  model_options.draft_layer = options.speculation == Speculation::mtp;
  auto loaded = load_model(checkpoint, *team, model_options), second = std::unique_ptr<const Model>();
  if (draft != nullptr) second = load_model(*draft, *team, model_options);
  const std::size_t block_bytes = EngineOptions::block_bytes(loaded->info(), second ? &second->info() : nullptr);
  if (n_blocks > 0) options.kv_bytes = block_bytes * n_blocks;
  return std::make_unique<Engine>(std::move(loaded), std::move(team), options, std::move(second));
}

/// They stay open: embeddings are read from them.
inline const Checkpoint& golden_model(const std::string& model) {
  static std::map<std::string, Checkpoint> checkpoints;
  auto found = checkpoints.find(model);
  if (found == checkpoints.end())
    found = checkpoints.emplace(model, Checkpoint::open(MOEBOX_TEST_DIR "/golden/" + model)).first;
  return found->second;
}

inline std::unique_ptr<Engine> make_engine(const std::string& model, EngineOptions options, Isa isa,
                                           std::size_t n_blocks = 0) {
  return make_engine(golden_model(model), options, isa, n_blocks);
}

/// They are published a moment after the last answer's end.
inline EngineStats stats_at_rest(Engine& engine) {
  for (int i = 0; i < 400 && engine.stats().kv_blocks_used != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return engine.stats();
}

/// Requests of all kinds. Every prompt repeats itself, and so do the answers of models that have learnt nothing.
inline GenerationRequest repetitive_request(int index, const ModelInfo& info) {
  std::mt19937 random(static_cast<unsigned>(index));
  GenerationRequest request;
  Ids motif(3 + random() % 5);
  for (TokenId& id : motif) id = static_cast<TokenId>(random() % static_cast<unsigned>(info.vocab_size));
  for (unsigned i = 0; i < 8 + random() % 30; ++i) request.prompt.push_back(motif[i % motif.size()]);
  request.max_new_tokens = 8 + static_cast<int>(random() % 40);
  SamplingParams& params = request.sampling;
  params.seed = 77;
  params.n_logprobs = index % 3;
  request.choice = index % 4;
  params.temperature = index % 2 == 0 ? 0.0f : 0.3f;
  if (index % 5 == 1) {
    params.repetition_penalty = 1.05f;
    params.frequency_penalty = 0.1f;
    params.presence_penalty = 0.1f;
  }
  if (index % 5 == 2) params.top_k = 3;
  if (index % 6 == 5) params.logit_bias = {{motif.front(), 1000.0f}};  // says one token again and again
  if (index % 4 == 3) request.stop_tokens = {static_cast<TokenId>(random() % static_cast<unsigned>(info.vocab_size))};
  if (info.moe.n_layers > 0 && index % 3 == 1) request.budget.top_p = 0.6f;
  return request;
}

/// Lets nobody say a first word before all have been submitted: how many run together is then no matter of speed.
class Gate final : public LogitProcessor {
 public:
  explicit Gate(std::shared_future<void> all_submitted) : all_submitted_(std::move(all_submitted)) {}
  void apply(std::span<float>, std::span<const TokenId>) override { all_submitted_.wait(); }
  void accept(TokenId) override {}

 private:
  std::shared_future<void> all_submitted_;
};

inline std::vector<DraftedAnswer> answers_of(Engine& engine, int n_requests) {
  std::promise<void> all_submitted;
  const auto gate = std::make_shared<Gate>(all_submitted.get_future().share());
  std::vector<std::shared_ptr<DraftSink>> sinks;
  for (int i = 0; i < n_requests; ++i) {
    sinks.push_back(std::make_shared<DraftSink>());
    GenerationRequest request = repetitive_request(i, engine.model());
    request.processors = {gate, std::make_shared<Witness>(sinks.back()->answer)};
    engine.submit(std::move(request), sinks.back());
  }
  all_submitted.set_value();
  std::vector<DraftedAnswer> answers;
  for (const auto& sink : sinks) {
    sink->wait();
    answers.push_back(std::move(sink->answer));
  }
  return answers;
}

inline bool equal_floats(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

inline void expect_same(const std::vector<DraftedAnswer>& answers, const std::vector<DraftedAnswer>& expected) {
  ASSERT_EQ(answers.size(), expected.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    EXPECT_EQ(answers[i].tokens, expected[i].tokens);
    EXPECT_EQ(answers[i].accepted, expected[i].accepted);
    EXPECT_EQ(answers[i].logits, expected[i].logits);
    EXPECT_TRUE(equal_floats(answers[i].logprobs, expected[i].logprobs));
    EXPECT_TRUE(equal_floats(answers[i].top, expected[i].top));
    EXPECT_EQ(answers[i].reason, expected[i].reason);
    EXPECT_EQ(answers[i].stats.generated_tokens, expected[i].stats.generated_tokens);
    EXPECT_EQ(answers[i].stats.moe.histogram, expected[i].stats.moe.histogram);
    EXPECT_NEAR(answers[i].stats.moe.dropped_mass, expected[i].stats.moe.dropped_mass, 1e-9);
  }
}

inline int accepted(const std::vector<DraftedAnswer>& answers) {
  int sum = 0;
  for (const DraftedAnswer& answer : answers) sum += answer.stats.accepted_tokens;
  return sum;
}

/// One after another; every prompt holds what was said before it. An engine's first conversation waits for the idle
/// time in which answers become prompt where roles matter, so that what is found does not depend on speed.
inline std::vector<DraftedAnswer> turns(Engine& engine, int n_turns, bool share) {
  std::vector<DraftedAnswer> answers;
  const bool idles = share && engine.model().roles_matter && engine.stats().idle_prompt_tokens == 0;
  std::uint64_t n_idle = 0;
  Ids prompt;
  for (int i = 0; i < 64; ++i) prompt.push_back(i * 7 % engine.model().vocab_size);
  for (int turn = 0; turn < n_turns; ++turn) {
    const auto sink = std::make_shared<DraftSink>();
    GenerationRequest request;
    request.prompt = prompt;
    request.share_prefix = share;
    request.sampling.temperature = 0;
    request.max_new_tokens = 45;
    request.processors = {std::make_shared<Witness>(sink->answer)};
    engine.submit(std::move(request), sink);
    sink->wait();
    answers.push_back(sink->answer);
    const std::size_t n_blocks = prompt.size() / kv_block_tokens;
    prompt.insert(prompt.end(), sink->answer.tokens.begin(), sink->answer.tokens.end());
    n_idle += idles ? (prompt.size() / kv_block_tokens - n_blocks) * kv_block_tokens : 0;
    for (int i = 0; i < 3000 && engine.stats().idle_prompt_tokens < n_idle; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return answers;
}

}  // namespace moebox::test

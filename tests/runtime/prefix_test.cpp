// Blocks of the cache that several sequences share: what is found, what is not, and that no bit of an answer changes.
#include <cstring>
#include <future>
#include <map>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "idle_time.h"
#include "io/checkpoint.h"
#include "runtime/block_pool.h"
#include "runtime/engine.h"

namespace moebox {
namespace {

using Tokens = std::vector<TokenId>;
using test::idle_time_was_used;

ModelInfo one_layer() {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  return info;
}

Tokens tokens_of(int count, unsigned seed, int vocab = 100) {
  std::mt19937 random(seed);
  Tokens tokens(static_cast<std::size_t>(count));
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

TEST(PrefixIndex, AContentIsAllThatDecidesIt) {
  PrefixIndex index(4);
  const Tokens tokens = tokens_of(kv_block_tokens, 1);
  Tokens others = tokens;
  others.back() += 1;
  const BlockContent content{7, 3, {.top_p = 0.5f}, 20, tokens};
  index.add(2, content);
  EXPECT_EQ(index.find(content), 2);
  EXPECT_EQ(index.find({8, 3, {.top_p = 0.5f}, 20, tokens}), -1);
  EXPECT_EQ(index.find({7, 4, {.top_p = 0.5f}, 20, tokens}), -1);
  EXPECT_EQ(index.find({7, 3, {.top_p = 0.6f}, 20, tokens}), -1);
  EXPECT_EQ(index.find({7, 3, {.top_p = 0.5f}, 21, tokens}), -1);
  EXPECT_EQ(index.find({7, 3, {.top_p = 0.5f}, 20, others}), -1);
  const std::uint64_t identity = index.identity(2);
  index.add(2, {7, 3, {.top_p = 0.5f}, 20, others});
  EXPECT_EQ(index.find(content), -1);
  EXPECT_NE(index.identity(2), identity);
}

TEST(PrefixIndex, KeepsManyInFewBuckets) {
  constexpr int n_blocks = 300;
  PrefixIndex index(n_blocks);
  std::vector<Tokens> contents;
  for (int i = 0; i < n_blocks; ++i) {
    contents.push_back(tokens_of(kv_block_tokens, static_cast<unsigned>(i)));
    index.add(i, {.tokens = contents.back()});
  }
  for (int i = 0; i < n_blocks; i += 2) index.remove(i);
  for (int i = 0; i < n_blocks; ++i) {
    EXPECT_EQ(index.find({.tokens = contents[static_cast<std::size_t>(i)]}), i % 2 == 0 ? -1 : i);
    EXPECT_EQ(index.identity(i) == 0, i % 2 == 0);
  }
}

/// Sequences come and go at random; who uses which block is counted beside the pool.
TEST(BlockPool, NeverHandsOutABlockThatIsUsed) {
  constexpr int n_blocks = 24;
  BlockPool pool(one_layer(), n_blocks);
  struct User {
    Tokens tokens;
    std::vector<int> blocks;
  };
  std::vector<User> users;
  std::map<int, Tokens> held;  // what a full block of a user holds, from the sequence's beginning on
  std::mt19937 random(5);
  int n_shared = 0;
  for (int turn = 0; turn < 3000; ++turn) {
    if (!users.empty() && (random() % 2 == 0 || users.size() > 8)) {
      const auto gone = static_cast<std::ptrdiff_t>(random() % users.size());
      pool.release(users[static_cast<std::size_t>(gone)].blocks);
      users.erase(users.begin() + gone);
    } else {
      User user{tokens_of(32 * (1 + static_cast<int>(random() % 6)) + 1, random() % 4), {}};
      user.blocks.reserve(8);
      std::uint64_t parent = 0;
      std::size_t n_full = 0;
      const auto content = [&] {
        return BlockContent{.parent = parent, .tokens = std::span(user.tokens).subspan(n_full * 32, 32)};
      };
      const auto prefix = [&] {
        return Tokens(user.tokens.begin(), user.tokens.begin() + static_cast<std::ptrdiff_t>(n_full + 1) * 32);
      };
      while ((n_full + 1) * 32 < user.tokens.size()) {
        const std::uint64_t found = pool.share(user.blocks, content());
        if (found == 0) break;
        parent = found;
        ASSERT_EQ(held.at(user.blocks.back()), prefix());
        ++n_full;
        ++n_shared;
      }
      if (pool.grow(user.blocks, static_cast<int>(user.tokens.size()))) {
        for (; (n_full + 1) * 32 <= user.tokens.size(); ++n_full) {
          held[user.blocks[n_full]] = prefix();
          parent = pool.publish(user.blocks[n_full], content());
        }
        users.push_back(std::move(user));
      } else {
        pool.release(user.blocks);
      }
    }
    std::map<int, Tokens> used;
    for (const User& user : users) {
      for (std::size_t i = 0; i < user.blocks.size(); ++i) {
        const auto end = static_cast<std::ptrdiff_t>(std::min((i + 1) * 32, user.tokens.size()));
        const Tokens prefix(user.tokens.begin(), user.tokens.begin() + end);
        const auto [place, is_new] = used.emplace(user.blocks[i], prefix);
        ASSERT_TRUE(is_new || (place->second == prefix && end % 32 == 0)) << "block " << user.blocks[i];
      }
    }
    ASSERT_EQ(pool.free(), n_blocks - static_cast<int>(used.size()));
    ASSERT_LE(pool.idle(), pool.free());
  }
  EXPECT_GT(n_shared, 100);
}

class Answered final : public GenerationSink {
 public:
  bool on_token(const GeneratedToken& token) override {
    tokens.push_back(token.id);
    logprobs.push_back(token.logprob);
    return true;
  }
  void on_finish(FinishReason, const GenerationStats& figures, const Error*) override {
    stats = figures;
    done_.set_value();
  }
  void wait() { ASSERT_EQ(done_.get_future().wait_for(std::chrono::minutes(2)), std::future_status::ready); }

  Tokens tokens;
  std::vector<float> logprobs;
  GenerationStats stats;

 private:
  std::promise<void> done_;
};

const Checkpoint& tiny_model(bool latent) {
  static const Checkpoint llama = Checkpoint::open(MOEBOX_TEST_DIR "/golden/transformers/models/llama_gqa");
  static const Checkpoint deepseek = Checkpoint::open(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3");
  return latent ? deepseek : llama;
}

std::unique_ptr<Engine> engine_of(bool latent, bool share, int n_blocks = 64, ModelOptions how = {},
                                  int max_batch_tokens = 0) {
  EngineOptions options;
  if (max_batch_tokens > 0) options.max_sequences = options.max_batch_tokens = max_batch_tokens;
  options.context_tokens = 256;
  options.share_prefixes = share;
  auto team = std::make_unique<ThreadTeam>(2);
  auto model = load_model(tiny_model(latent), *team, how);
  options.kv_bytes = model->info().kv_block_bytes() * static_cast<std::size_t>(n_blocks);
  return std::make_unique<Engine>(std::move(model), std::move(team), options);
}

GenerationRequest greedy(Tokens prompt, int n_new) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.n_logprobs = 0;
  request.max_new_tokens = n_new;
  return request;
}

std::shared_ptr<Answered> answer(Engine& engine, GenerationRequest request) {
  auto sink = std::make_shared<Answered>();
  engine.submit(std::move(request), sink);
  sink->wait();
  return sink;
}

/// Figures are published after an answer's end has been told.
EngineStats stats_when_idle(Engine& engine) {
  for (int i = 0; i < 1000 && engine.stats().kv_blocks_used > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return engine.stats();
}

class Prefix : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Models, Prefix, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "latent" : "dense"); });

/// Each turn's prompt is the last one, its answer, and something new.
void expect_same_conversation(bool latent, const ModelOptions& how, const RoutingBudget& budget = {}) {
  const auto cached = engine_of(latent, true, 64, how), plain = engine_of(latent, false, 64, how);
  const int vocab = cached->model().vocab_size;
  Tokens prompt = tokens_of(45, 1, vocab);
  int known = 0, n_looked_up = 0, n_found = 0;  // tokens that the cache must have
  std::uint64_t n_idle = 0;
  for (unsigned turn = 0; turn < 4; ++turn) {
    GenerationRequest request = greedy(prompt, 21);
    request.budget = budget;
    const auto found = answer(*cached, GenerationRequest(request)), expected = answer(*plain, std::move(request));
    EXPECT_EQ(found->stats.cached_tokens, known / kv_block_tokens * kv_block_tokens);
    EXPECT_EQ(expected->stats.cached_tokens, 0);
    EXPECT_EQ(found->tokens, expected->tokens);
    ASSERT_EQ(found->logprobs.size(), expected->logprobs.size());
    EXPECT_EQ(std::memcmp(found->logprobs.data(), expected->logprobs.data(), found->logprobs.size() * sizeof(float)),
              0);
    n_looked_up += static_cast<int>(prompt.size());
    n_found += found->stats.cached_tokens;
    const std::size_t n_prompt = prompt.size();
    prompt.insert(prompt.end(), found->tokens.begin(), found->tokens.end());
    known = static_cast<int>(prompt.size());
    // Where roles matter an answer that comes back as prompt is something else, and all of it is computed once more;
    // where they do not, its last token was never computed.
    if (latent)
      n_idle += test::idle_tokens_of(n_prompt, found->tokens.size());
    else
      --known;
    ASSERT_TRUE(idle_time_was_used(*cached, n_idle));
    const Tokens more = tokens_of(13, turn + 10, vocab);
    prompt.insert(prompt.end(), more.begin(), more.end());
  }
  EXPECT_GT(n_found, 0);
  const EngineStats stats = stats_when_idle(*cached);
  EXPECT_EQ(stats.prefix_tokens, static_cast<std::uint64_t>(n_looked_up));
  EXPECT_EQ(stats.prefix_tokens_found, static_cast<std::uint64_t>(n_found));
  EXPECT_EQ(stats_when_idle(*plain).prefix_tokens, 0u);
  EXPECT_EQ(stats_when_idle(*plain).idle_prompt_tokens, 0u);
}

TEST_P(Prefix, AConversationComputesWhatIsNewAndChangesNoBit) {
  for (const KvType type : {KvType::f16, KvType::bf16, KvType::q8_0})
    expect_same_conversation(GetParam(), {.kv_type = type});
}

TEST_P(Prefix, SoItIsOnEveryInstructionSetAndWithABudget) {
  for (const Isa isa : available_isas()) {
    SCOPED_TRACE(name(isa));
    ModelOptions how;
    how.kernels = &kernel_table(isa);
    how.kv_type = KvType::f16;
    expect_same_conversation(GetParam(), how, GetParam() ? RoutingBudget{.top_p = 0.5f} : RoutingBudget{});
  }
}

TEST_P(Prefix, IsNotSharedWithOthers) {
  const auto engine = engine_of(GetParam(), true);
  const Tokens prompt = tokens_of(100, 2, engine->model().vocab_size);
  const auto cached = [&](auto change) {
    GenerationRequest request = greedy(prompt, 1);
    change(request);
    return answer(*engine, std::move(request))->stats.cached_tokens;
  };
  const auto nothing = [](GenerationRequest&) {};
  EXPECT_EQ(cached([](GenerationRequest& request) { request.share_prefix = false; }), 0);
  EXPECT_EQ(cached(nothing), 0);  // nor did the one before leave anything
  EXPECT_EQ(cached(nothing), 96);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.share_prefix = false; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prefix_scope = 1; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prefix_scope = 1; }), 96);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt[0] ^= 1; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt[40] ^= 1; }), 32);
  // The last token's logits are wanted: its block is computed.
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt.resize(96); }), 64);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt.resize(97); }), 96);
  if (!GetParam()) return;
  EXPECT_EQ(cached([](GenerationRequest& request) { request.budget.max_experts = 1; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.budget.max_experts = 1; }), 96);
}

TEST_P(Prefix, WhatWasUsedLongestAgoMakesRoom) {
  const auto engine = engine_of(GetParam(), true, 12), plain = engine_of(GetParam(), false);
  const int vocab = engine->model().vocab_size;
  const auto same = [&](unsigned seed, int cached) {
    const Tokens prompt = tokens_of(100, seed, vocab);
    const auto found = answer(*engine, greedy(prompt, 3)), expected = answer(*plain, greedy(prompt, 3));
    EXPECT_EQ(found->tokens, expected->tokens);
    EXPECT_EQ(found->logprobs, expected->logprobs);
    EXPECT_EQ(found->stats.cached_tokens, cached) << seed;
  };
  // Three blocks of each stay, and a fourth is needed while one runs: of twelve.
  same(1, 0);
  same(2, 0);
  same(3, 0);
  same(1, 96);
  same(4, 0);  // takes the last block of 2
  same(3, 96);
  same(1, 96);
  same(2, 64);
  for (unsigned seed = 5; seed < 40; ++seed) same(seed, 0);
  const EngineStats stats = stats_when_idle(*engine);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.kv_blocks_idle, 11);  // one was never full
}

/// Makes an answer of given tokens.
class Dictation final : public LogitProcessor {
 public:
  explicit Dictation(Tokens tokens) : tokens_(std::move(tokens)) {}
  void apply(std::span<float> logits, std::span<const TokenId>) override {
    logits[static_cast<std::size_t>(tokens_.at(next_++))] = 1e30f;
  }

 private:
  Tokens tokens_;
  std::size_t next_ = 0;
};

GenerationRequest dictated(Tokens prompt, const Tokens& tokens) {
  GenerationRequest request = greedy(std::move(prompt), static_cast<int>(tokens.size()));
  request.processors.push_back(std::make_shared<Dictation>(tokens));
  return request;
}

TEST(IdlePrefill, TheTokenThatEndedAnAnswerIsTakenAsPromptToo) {
  const auto engine = engine_of(true, true), plain = engine_of(true, false);
  const int vocab = engine->model().vocab_size;
  Tokens prompt = tokens_of(40, 1, vocab), said = tokens_of(23, 2, vocab);
  const TokenId end = 7;
  for (TokenId& id : said) id = id == end ? end + 1 : id;
  said.push_back(end);
  GenerationRequest request = dictated(prompt, said);
  request.stop_tokens = {end};
  const auto first = answer(*engine, std::move(request));
  ASSERT_EQ(first->tokens.size(), 23u);
  ASSERT_TRUE(idle_time_was_used(*engine, 32));
  prompt.insert(prompt.end(), said.begin(), said.end());
  ASSERT_EQ(prompt.size(), 64u);
  const Tokens more = tokens_of(10, 3, vocab);
  prompt.insert(prompt.end(), more.begin(), more.end());
  const auto found = answer(*engine, greedy(prompt, 9)), expected = answer(*plain, greedy(prompt, 9));
  EXPECT_EQ(found->stats.cached_tokens, 64);
  EXPECT_EQ(found->tokens, expected->tokens);
  EXPECT_EQ(found->logprobs, expected->logprobs);
}

TEST(IdlePrefill, BelongsToTheRequestsScopeAndBudget) {
  const auto engine = engine_of(true, true);
  const Tokens prompt = tokens_of(40, 1, engine->model().vocab_size);
  GenerationRequest request = greedy(prompt, 30);
  request.prefix_scope = 1;
  request.budget.max_experts = 1;
  const auto said = answer(*engine, std::move(request))->tokens;
  ASSERT_TRUE(idle_time_was_used(*engine, 32));
  Tokens next = prompt;
  next.insert(next.end(), said.begin(), said.end());
  const auto cached = [&](std::uint64_t scope, int max_experts) {
    GenerationRequest again = greedy(next, 1);
    again.prefix_scope = scope;
    again.budget.max_experts = max_experts;
    return answer(*engine, std::move(again))->stats.cached_tokens;
  };
  EXPECT_EQ(cached(0, 1), 0);
  EXPECT_EQ(cached(1, 0), 0);
  EXPECT_EQ(cached(1, 1), 64);
}

TEST(IdlePrefill, LeavesOutWhatIsNotShared) {
  const auto engine = engine_of(true, true);
  const int vocab = engine->model().vocab_size;
  GenerationRequest own = greedy(tokens_of(40, 1, vocab), 40);
  own.share_prefix = false;
  answer(*engine, std::move(own));
  answer(*engine, greedy(tokens_of(40, 2, vocab), 10));  // no block more is full
  answer(*engine, greedy(tokens_of(40, 3, vocab), 30));
  EXPECT_TRUE(idle_time_was_used(*engine, 32));
}

TEST(IdlePrefill, BeginsWhenNoRequestIsThere) {
  // The next request arrives before the answer's end has been told.
  class AsksOn final : public GenerationSink {
   public:
    AsksOn(Engine& engine, GenerationRequest next) : engine_(engine), next_(std::move(next)) {}
    bool on_token(const GeneratedToken&) override {
      at_last_token = engine_.stats().idle_prompt_tokens;
      return true;
    }
    void on_finish(FinishReason, const GenerationStats&, const Error*) override {
      if (!next_) return done.set_value();
      GenerationRequest next = std::move(*next_);
      next_.reset();
      engine_.submit(std::move(next), self.lock());
    }
    std::weak_ptr<AsksOn> self;
    std::uint64_t at_last_token = 0;
    std::promise<void> done;

   private:
    Engine& engine_;
    std::optional<GenerationRequest> next_;
  };
  const auto engine = engine_of(true, true);
  const int vocab = engine->model().vocab_size;
  const auto sink = std::make_shared<AsksOn>(*engine, greedy(tokens_of(50, 2, vocab), 80));
  sink->self = sink;
  engine->submit(greedy(tokens_of(40, 1, vocab), 90), sink);
  ASSERT_EQ(sink->done.get_future().wait_for(std::chrono::minutes(2)), std::future_status::ready);
  EXPECT_EQ(sink->at_last_token, 0u);
  EXPECT_TRUE(idle_time_was_used(*engine, test::idle_tokens_of(50, 80) + test::idle_tokens_of(40, 90)));
}

TEST(IdlePrefill, IsNoRequest) {
  const auto engine = engine_of(true, true);
  const int vocab = engine->model().vocab_size;
  answer(*engine, greedy(tokens_of(40, 1, vocab), 90));
  ASSERT_TRUE(idle_time_was_used(*engine, test::idle_tokens_of(40, 90)));
  const EngineStats stats = stats_when_idle(*engine);
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.finished, 1u);
  EXPECT_EQ(stats.prompt_tokens, 40u);
  EXPECT_EQ(stats.generated_tokens, 90u);
  EXPECT_EQ(stats.prefix_tokens, 40u);
  EXPECT_EQ(stats.steps, 90u);
  EXPECT_EQ(stats.expert_load.front().n_chosen, 129u * static_cast<unsigned>(engine->model().moe.top_k))
      << "of each token but the last one";
}

TEST(IdlePrefill, GivesWayToRequests) {
  // Eight blocks hold one long sequence: what waits for idle time takes none that a request needs, which comes when a
  // block is half done as a rule.
  const auto engine = engine_of(true, true, 8, {}, 5), plain = engine_of(true, false);
  const auto request = [&](unsigned seed) {
    return greedy(tokens_of(seed % 3 == 2 ? 200 : 40, seed, engine->model().vocab_size), 41);
  };
  std::vector<std::shared_ptr<Answered>> expected, found;
  for (unsigned seed = 0; seed < 24; ++seed) expected.push_back(answer(*plain, request(seed)));
  for (unsigned seed = 0; seed < 24; ++seed) {
    found.push_back(answer(*engine, request(seed)));
    const std::uint64_t before = engine->stats().idle_prompt_tokens;
    for (int i = 0; i < 100 && engine->stats().idle_prompt_tokens == before; ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(found[i]->tokens, expected[i]->tokens) << i;
    EXPECT_EQ(found[i]->logprobs, expected[i]->logprobs) << i;
  }
}

TEST(IdlePrefill, EndsWithTheEngine) {
  const auto begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 10; ++round) {
    const auto engine = engine_of(true, true);
    std::vector<std::shared_ptr<Answered>> sinks;
    for (unsigned seed = 0; seed < 20; ++seed) {
      sinks.push_back(std::make_shared<Answered>());
      engine->submit(greedy(tokens_of(20, seed, engine->model().vocab_size), 50), sinks.back());
    }
    for (const auto& sink : sinks) sink->wait();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::minutes(2));
}

}  // namespace
}  // namespace moebox

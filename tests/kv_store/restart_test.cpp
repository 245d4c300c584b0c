// An engine with a store: after a restart prompts' beginnings are found, no bit of an answer changes, and a store that
// is slow, damaged or empty costs nothing but time.
#include <atomic>
#include <cstring>
#include <thread>

#include "idle_time.h"
#include "stores.h"

namespace moebox {
namespace {

using namespace test;

void expect_same(const Answered& found, const Answered& expected) {
  EXPECT_EQ(found.tokens, expected.tokens);
  ASSERT_EQ(found.logprobs.size(), expected.logprobs.size());
  EXPECT_EQ(std::memcmp(found.logprobs.data(), expected.logprobs.data(), found.logprobs.size() * sizeof(float)), 0);
}

class Restart : public testing::TestWithParam<bool> {
 protected:
  bool latent() const { return GetParam(); }
  TemporaryFolder above;
  const fs::path folder = above / "store";
};
INSTANTIATE_TEST_SUITE_P(Models, Restart, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "latent" : "dense"); });

/// Every turn of a conversation meets a new process.
TEST_P(Restart, AConversationGoesOn) {
  const auto plain = engine_of(latent(), nullptr);
  const int vocab = plain->model().vocab_size;
  Tokens prompt = tokens_of(45, 1, vocab);
  int known = 0;
  for (unsigned turn = 0; turn < 4; ++turn) {
    const auto engine = engine_of(latent(), open_store(folder, "a key of this test"));
    const auto found = answer(*engine, greedy(prompt, 21)), expected = answer(*plain, greedy(prompt, 21));
    expect_same(*found, *expected);
    EXPECT_EQ(found->stats.cached_tokens, known / kv_block_tokens * kv_block_tokens);
    EXPECT_EQ(engine->stats().store.found_tokens, static_cast<std::uint64_t>(found->stats.cached_tokens));
    EXPECT_EQ(engine->stats().store.refused_blocks, 0u);
    EXPECT_TRUE(idle_time_was_used(*engine, latent() ? idle_tokens_of(prompt.size(), 21) : 0));
    prompt.insert(prompt.end(), found->tokens.begin(), found->tokens.end());
    known = static_cast<int>(prompt.size()) - (latent() ? 0 : 1);
    const Tokens more = tokens_of(13, turn + 10, vocab);
    prompt.insert(prompt.end(), more.begin(), more.end());
  }
}

TEST_P(Restart, AnAnswersBlocksAreStoredAsTheyComeBack) {
  {
    const auto engine = engine_of(latent(), open_store(folder));
    answer(*engine, greedy(tokens_of(40, 9, engine->model().vocab_size), 60));
    EXPECT_TRUE(idle_time_was_used(*engine, latent() ? idle_tokens_of(40, 60) : 0));
  }
  EXPECT_EQ(open_store(folder)->stats().blocks, 3u);
}

TEST_P(Restart, NothingIsSharedThatIsNotTheSame) {
  const Tokens prompt = tokens_of(100, 2, engine_of(latent(), nullptr)->model().vocab_size);
  const auto cached = [&](auto change, KvType type = KvType::f16) {
    const auto engine = engine_of(latent(), open_store(folder), 64, type);
    GenerationRequest request = greedy(prompt, 1);
    change(request);
    return answer(*engine, std::move(request))->stats.cached_tokens;
  };
  const auto nothing = [](GenerationRequest&) {};
  EXPECT_EQ(cached([](GenerationRequest& request) { request.share_prefix = false; }), 0);
  EXPECT_EQ(cached(nothing), 0);
  EXPECT_EQ(cached(nothing), 96);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.share_prefix = false; }), 0);
  for (const KvType type : {KvType::f32, KvType::bf16, KvType::q8_0}) {  // blocks of BF16 are as large as those of F16
    EXPECT_EQ(cached(nothing, type), 0);
    EXPECT_EQ(cached(nothing, type), 96);
  }
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prefix_owner = "one"; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prefix_owner = "two"; }), 0);
  // The number of the scope is the process' own; whom it stands for is what counts.
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prefix_owner = "one", request.prefix_scope = 7; }), 96);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt[0] ^= 1; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt[40] ^= 1; }), 32);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt.resize(96); }), 64);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.prompt.resize(97); }), 96);
  if (!latent()) return;
  EXPECT_EQ(cached([](GenerationRequest& request) { request.budget.max_experts = 1; }), 0);
  EXPECT_EQ(cached([](GenerationRequest& request) { request.budget.max_experts = 1; }), 96);
}

// A draft layer's part of a block is stored with it; a block without it is another one.
TEST(RestartWithDrafts, TheDraftLayersPartIsStored) {
  const TemporaryFolder above;
  const Checkpoint checkpoint = Checkpoint::open(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3-mtp");
  const auto engine = [&](bool drafts, bool stores) {
    EngineOptions options;
    options.context_tokens = 256;
    options.model_identity = "with a layer more";
    options.always_draft = true;
    if (stores) options.store = open_store(above / "store");
    if (drafts) options.speculation = Speculation::mtp;
    auto team = std::make_unique<ThreadTeam>(2);
    ModelOptions model_options;
    model_options.draft_layer = drafts;
    auto model = load_model(checkpoint, *team, model_options);
    options.kv_bytes = model->info().kv_block_bytes() * 64;
    return std::make_unique<Engine>(std::move(model), std::move(team), options);
  };
  const Tokens prompt = tokens_of(100, 4, 512);
  const auto expected = answer(*engine(false, false), greedy(prompt, 40));
  const auto drafted = answer(*engine(true, false), greedy(prompt, 40));
  for (const int cached : {0, 96}) {
    const auto found = answer(*engine(true, true), greedy(prompt, 40));
    expect_same(*found, *expected);
    EXPECT_EQ(found->stats.cached_tokens, cached);
    EXPECT_GT(found->stats.drafted_tokens, 0);
    EXPECT_EQ(found->stats.drafted_tokens, drafted->stats.drafted_tokens);
    EXPECT_EQ(found->stats.accepted_tokens, drafted->stats.accepted_tokens);
  }
  EXPECT_EQ(answer(*engine(false, true), greedy(prompt, 40))->stats.cached_tokens, 0);
}

// A draft model's part of a block is not stored: it catches up with blocks that were read, together with those who
// share them, and guesses as well as before.
TEST(RestartWithDrafts, ADraftModelCatchesUpWithWhatWasRead) {
  const TemporaryFolder above;
  const auto engine = [&](bool stores, bool drafts = true) {
    EngineOptions options;
    options.context_tokens = 256;
    options.model_identity = "with a second one";
    options.always_draft = true;
    if (stores) options.store = open_store(above / "store");
    auto team = std::make_unique<ThreadTeam>(2);
    auto model = load_model(tiny_model(false), *team), second = std::unique_ptr<const Model>();
    if (drafts) {
      options.speculation = Speculation::draft;
      second = load_model(tiny_model(false), *team);
    }
    return std::make_unique<Engine>(std::move(model), std::move(team), options, std::move(second));
  };
  const Tokens prompt = tokens_of(100, 4);
  const auto plain = answer(*engine(false, false), greedy(prompt, 40));
  const auto drafted = answer(*engine(false), greedy(prompt, 40));
  EXPECT_GT(drafted->stats.accepted_tokens, 30);
  answer(*engine(true), greedy(prompt, 40));
  auto restarted = engine(true);
  std::vector<std::shared_ptr<Answered>> sinks;
  for (int i = 0; i < 4; ++i) {
    sinks.push_back(std::make_shared<Answered>());
    restarted->submit(greedy(prompt, 40), sinks.back());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait());
    expect_same(*sink, *plain);
    EXPECT_EQ(sink->stats.cached_tokens, 96);
    // A step has room to catch up with so many tokens: who comes when another takes it drafts a step later.
    EXPECT_NEAR(sink->stats.drafted_tokens, drafted->stats.drafted_tokens, 3);
    EXPECT_EQ(sink->stats.accepted_tokens, sink->stats.drafted_tokens);
  }
  restarted.reset();
  // What the one stored the other finds: blocks belong to the model alone.
  EXPECT_EQ(answer(*engine(true, false), greedy(prompt, 40))->stats.cached_tokens, 96);
}

TEST_P(Restart, WhatIsDamagedIsComputed) {
  const auto plain = engine_of(latent(), nullptr);
  const Tokens prompt = tokens_of(200, 3, plain->model().vocab_size);
  const auto expected = answer(*plain, greedy(prompt, 5));
  answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 5));
  const fs::path file = segments(folder).at(0);
  const std::string whole = content_of(file);
  for (int i = 0; i < 12; ++i) {
    std::string damaged = whole;
    damaged[whole.size() * static_cast<std::size_t>(i) / 12 + 50] ^= 4;
    overwrite(file, damaged);
    for (const fs::path& made : segments(folder))
      if (made != file) fs::remove(made);
    const auto found = answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 5));
    expect_same(*found, *expected);
    EXPECT_LT(found->stats.cached_tokens, 192);
    // What was computed again is stored again.
    EXPECT_EQ(answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 5))->stats.cached_tokens, 192);
  }
}

TEST_P(Restart, ManyAtOnceWithLittleMemory) {
  const auto plain = engine_of(latent(), nullptr);
  const int vocab = plain->model().vocab_size;
  const auto prompt = [&](unsigned i) {
    Tokens tokens = tokens_of(70, 4, vocab);
    const Tokens rest = tokens_of(20 + static_cast<int>(i) * 5, 50 + i, vocab);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    return tokens;
  };
  for (int round = 0; round < 3; ++round) {
    const auto engine = engine_of(latent(), open_store(folder), 12);
    std::vector<std::shared_ptr<Answered>> sinks;
    std::vector<RequestId> ids;
    for (unsigned i = 0; i < 20; ++i) {
      sinks.push_back(std::make_shared<Answered>());
      ids.push_back(engine->submit(greedy(prompt(i), 30), sinks.back()));
    }
    for (std::size_t i = 0; i < 20; i += 5) engine->cancel(ids[i]);
    for (unsigned i = 0; i < 20; ++i) {
      ASSERT_TRUE(sinks[i]->wait());
      if (i % 5 == 0 && sinks[i]->reason == FinishReason::cancelled) continue;
      expect_same(*sinks[i], *answer(*plain, greedy(prompt(i), 30)));
    }
  }
}

/// A store in memory whose readings wait, and fail where they are told to.
class SlowStore final : public BlockStore {
 public:
  explicit SlowStore(std::shared_ptr<KvStore> store) : store_(std::move(store)) {}
  BlockName root(std::span<const std::byte> all) const override { return store_->root(all); }
  BlockName name(const BlockName& parent, int n_prompt, std::span<const TokenId> tokens) const noexcept override {
    return store_->name(parent, n_prompt, tokens);
  }
  bool contains(const BlockName& name) const noexcept override { return store_->contains(name); }
  std::uint64_t generation() const noexcept override { return store_->generation(); }
  bool write(const StoredBlock& block, std::span<const std::byte> content) noexcept override {
    if (write_fails) return false;
    return store_->write(block, content);
  }
  std::span<const std::byte> read(const StoredBlock& wanted, std::size_t bytes,
                                  std::vector<std::byte>& buffer) noexcept override {
    ++n_reading;
    while (hold) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(delay);
    return read_fails ? std::span<const std::byte>() : store_->read(wanted, bytes, buffer);
  }
  BlockStoreStats stats() const noexcept override { return store_->stats(); }

  std::atomic<bool> hold{false}, read_fails{false}, write_fails{false};
  std::atomic<int> n_reading{0};
  std::chrono::milliseconds delay{0};

 private:
  std::shared_ptr<KvStore> store_;
};

TEST_P(Restart, OthersRunWhileBlocksAreRead) {
  const auto plain = engine_of(latent(), nullptr);
  const Tokens prompt = tokens_of(100, 5, plain->model().vocab_size);
  answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 3));
  const auto store = std::make_shared<SlowStore>(open_store(folder));
  auto engine = engine_of(latent(), store);
  store->hold = true;
  const auto waiting = std::make_shared<Answered>(), cancelled = std::make_shared<Answered>();
  engine->submit(greedy(prompt, 3), waiting);
  const RequestId id = engine->submit(greedy(prompt, 4), cancelled);
  while (store->n_reading < 2) std::this_thread::yield();
  const Tokens other = tokens_of(90, 6, plain->model().vocab_size);
  expect_same(*answer(*engine, greedy(other, 20)), *answer(*plain, greedy(other, 20)));
  EXPECT_EQ(engine->stats().waiting, 2);
  engine->cancel(id);
  store->hold = false;
  ASSERT_TRUE(waiting->wait());
  ASSERT_TRUE(cancelled->wait());
  EXPECT_EQ(cancelled->reason, FinishReason::cancelled);
  EXPECT_EQ(waiting->stats.cached_tokens, 96);
  expect_same(*waiting, *answer(*plain, greedy(prompt, 3)));
}

TEST_P(Restart, AStoreThatFailsOrIsTooSlowIsDoneWithout) {
  const auto plain = engine_of(latent(), nullptr);
  const int vocab = plain->model().vocab_size;
  const Tokens prompt = tokens_of(200, 7, vocab);
  const auto expected = answer(*plain, greedy(prompt, 3));
  answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 3));
  const auto store = std::make_shared<SlowStore>(open_store(folder));
  {
    store->read_fails = store->write_fails = true;
    const auto engine = engine_of(latent(), store);
    const auto found = answer(*engine, greedy(prompt, 3));
    EXPECT_EQ(found->stats.cached_tokens, 0);
    EXPECT_GT(engine->stats().store.refused_blocks, 0u);
    expect_same(*found, *expected);
  }
  store->read_fails = store->write_fails = false;
  store->delay = std::chrono::milliseconds(100);
  const auto engine = engine_of(latent(), store);
  for (unsigned i = 0; i < 3; ++i)
    answer(*engine, greedy(tokens_of(200, 80 + i, vocab), 1));  // how long computing takes
  const auto begin = Clock::now();
  const auto found = answer(*engine, greedy(prompt, 3));
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
  EXPECT_LT(found->stats.cached_tokens, 192);
  EXPECT_GT(engine->stats().store.late_blocks, 0u);
  expect_same(*found, *expected);
}

TEST_P(Restart, AnEngineEndsWhileBlocksAreRead) {
  const Tokens prompt = tokens_of(100, 8, engine_of(latent(), nullptr)->model().vocab_size);
  answer(*engine_of(latent(), open_store(folder)), greedy(prompt, 3));
  const auto store = std::make_shared<SlowStore>(open_store(folder));
  auto engine = engine_of(latent(), store);
  store->hold = true;
  const auto sink = std::make_shared<Answered>();
  engine->submit(greedy(prompt, 3), sink);
  while (store->n_reading < 2) std::this_thread::yield();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    store->hold = false;
  });
  engine.reset();
  later.join();
  ASSERT_TRUE(sink->wait());
  EXPECT_EQ(sink->reason, FinishReason::cancelled);
}

}  // namespace
}  // namespace moebox

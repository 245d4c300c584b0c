// Routed experts that are read when they are needed: the same bits as when all are in memory, whatever is evicted; what
// cannot be read ends a request, not the program.
#include <chrono>
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "models/pack_file.h"
#include "pack_cases.h"
#include "runtime/engine.h"

namespace moebox::test {
namespace {

ModelOptions cached(std::size_t bytes) { return {.pack_file = PackFileUse::automatic, .expert_cache_bytes = bytes}; }

/// The size that the error about a cache of one byte names.
std::size_t smallest_cache(const Checkpoint& checkpoint) {
  try {
    plan_model(checkpoint, cached(1));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    const std::string text = "at least ", &message = error.message();
    return std::stoull(message.substr(message.find(text) + text.size()));
  }
  return 0;
}

TEST(ExpertCache, GivesTheSameBits) {
  for (const char* name : moe_models) {
    SCOPED_TRACE(name);
    const CopiedModel copy(name);
    const Checkpoint checkpoint = copy.open();
    const std::size_t smallest = smallest_cache(checkpoint);
    ASSERT_GT(smallest, 0u);
    for (const int n_threads : {1, 2}) {
      if (n_threads > 1 && name != moe_models[1]) continue;
      ThreadTeam team(n_threads);
      const auto whole = load_model(checkpoint, team);
      for (const std::size_t bytes : {smallest, smallest * 3 / 2, std::size_t{1} << 30}) {
        const auto model = load_model(checkpoint, team, cached(bytes));
        const std::size_t capacity = model->expert_cache().capacity_bytes;
        EXPECT_LE(capacity, bytes + 8192);
        for (const int chunk : {1, 5, 40}) {
          if (n_threads > 1 && chunk == 1) continue;
          SCOPED_TRACE(chunk);
          EXPECT_TRUE(same_bits(logits_of(*model, team, chunk), logits_of(*whole, team, chunk)));
        }
        const ExpertCacheStats stats = model->expert_cache();
        const auto n_experts = static_cast<std::uint64_t>(model->info().moe.n_experts * model->info().moe.n_layers);
        EXPECT_GT(stats.misses, 0u);
        EXPECT_GT(stats.read_bytes, 0u);
        if (bytes == std::size_t{1} << 30) {
          EXPECT_LE(stats.misses, n_experts);  // each is read once
        } else if (bytes == smallest) {
          EXPECT_GT(stats.misses, n_experts);
        }
      }
    }
  }
}

TEST(ExpertCache, NamesTheSmallestSize) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  const Checkpoint checkpoint = copy.open();
  const std::size_t smallest = smallest_cache(checkpoint);
  ThreadTeam team(1);
  EXPECT_THROW(load_model(checkpoint, team, cached(smallest - 1)), Error);
  EXPECT_NO_THROW(load_model(checkpoint, team, cached(smallest)));
  EXPECT_LT(plan_model(checkpoint, cached(smallest))->info().weight_bytes, plan_model(checkpoint)->info().weight_bytes);
  EXPECT_THROW(load_model(checkpoint, team, {.expert_cache_bytes = smallest}), Error);  // pack files are off
}

TEST(ExpertCache, ReadsAnewWhatWasDamaged) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  const Checkpoint checkpoint = copy.open();
  ThreadTeam team(2);
  const auto expected = logits_of(*load_model(checkpoint, team), team, 7);
  const auto model = load_model(checkpoint, team, cached(smallest_cache(checkpoint)));
  const std::vector<char> good = read_file(copy.pack_path());
  std::vector<char> bad = good;
  for (std::size_t i = PackFile::data_offset; i < bad.size(); i += 64) bad[i] ^= 4;
  write_file(copy.pack_path(), bad);  // the same file, not another one of its name
  try {
    logits_of(*model, team, 7);
    FAIL() << "damaged experts were used";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_NE(error.message().find("damaged"), std::string::npos) << error.message();
  }
  write_file(copy.pack_path(), {});
  EXPECT_THROW(logits_of(*model, team, 7), Error);
  write_file(copy.pack_path(), good);
  EXPECT_TRUE(same_bits(logits_of(*model, team, 7), expected));
}

/// Waits for the end of one request.
class Ending final : public GenerationSink {
 public:
  bool on_token(const GeneratedToken& token) override {
    tokens.push_back(token.id);
    return true;
  }
  void on_finish(FinishReason reason, const GenerationStats&, const Error* error) override {
    promise.set_value({reason, error == nullptr ? "" : error->message()});
  }
  std::vector<TokenId> tokens;
  std::promise<std::pair<FinishReason, std::string>> promise;
};

TEST(ExpertCache, AFailureEndsTheRequestAndNotTheEngine) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  const Checkpoint checkpoint = copy.open();
  auto team = std::make_unique<ThreadTeam>(2);
  auto model = load_model(checkpoint, *team, cached(smallest_cache(checkpoint)));
  EngineOptions options;
  options.context_tokens = 128;
  Engine engine(std::move(model), std::move(team), options);
  const auto answer = [&] {
    GenerationRequest request;
    request.prompt = some_tokens(engine.model().vocab_size, 20);
    request.sampling.temperature = 0;
    request.max_new_tokens = 20;
    auto sink = std::make_shared<Ending>();
    auto end = sink->promise.get_future();
    engine.submit(std::move(request), sink);
    const auto result = end.get();
    return std::make_tuple(result.first, result.second, sink->tokens);
  };
  const auto before = answer();
  EXPECT_EQ(std::get<0>(before), FinishReason::length);
  const std::vector<char> good = read_file(copy.pack_path());
  write_file(copy.pack_path(), {});
  const auto failed = answer();
  EXPECT_EQ(std::get<0>(failed), FinishReason::error);
  EXPECT_NE(std::get<1>(failed).find("expert "), std::string::npos) << std::get<1>(failed);
  write_file(copy.pack_path(), good);
  EXPECT_EQ(answer(), before);
  EngineStats stats = engine.stats();  // the last step's figures come just after its requests' ends
  for (int i = 0; i < 1000 && stats.kv_blocks_used != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    stats = engine.stats();
  }
  EXPECT_EQ(stats.failed, 1u);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_GT(stats.expert_cache.hits, 0u);
}

}  // namespace
}  // namespace moebox::test

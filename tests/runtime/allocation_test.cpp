// The engine's threads allocate nothing, from the moment that submit() has returned to the end of the request. A
// program of its own: it replaces operator new.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "idle_time.h"
#include "io/checkpoint.h"
#include "runtime/engine.h"

namespace {

std::atomic<long> n_allocations{0};  // by all threads that are not exempt
std::atomic<bool> refuse{false};     // these get no memory
thread_local bool exempt = false;

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (!exempt) {
    ++n_allocations;
    if (refuse) throw std::bad_alloc();
  }
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(bytes)
                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Not inlined: compilers take a free() of what operator new returned for a mistake.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }

}  // namespace

// The forms for arrays and those that do not throw call these.
void* operator new(std::size_t bytes) { return allocate(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace moebox {
namespace {

/// Counts tokens, and allocates only when it is told to.
class Sink final : public GenerationSink {
 public:
  explicit Sink(bool allocates = false) : allocates_(allocates) {}

  bool on_token(const GeneratedToken& token) override {
    ++n_tokens;
    n_top = static_cast<int>(token.top.size());
    if (allocates_) kept_ = std::make_unique<TokenId>(token.id);
    return true;
  }
  void on_finish(FinishReason why, const GenerationStats& stats, const Error* error) override {
    reason = why;
    preemptions = stats.preemptions;
    if (error != nullptr) kind = error->kind();
    finished = true;
    finished.notify_all();
  }
  void wait() { finished.wait(false); }

  std::atomic<int> n_tokens{0};
  int n_top = 0, preemptions = 0;
  FinishReason reason{};
  ErrorKind kind{};
  std::atomic<bool> finished{false};

 private:
  bool allocates_;
  std::unique_ptr<TokenId> kept_;
};

constexpr int n_new = 24;

SamplingParams everything() {
  SamplingParams params;
  params.temperature = 0.8f;
  params.top_k = 60;
  params.top_p = 0.95f;
  params.min_p = 0.01f;
  params.typical_p = 0.9f;
  params.repetition_penalty = 1.1f;
  params.frequency_penalty = 0.2f;
  params.presence_penalty = 0.3f;
  params.logit_bias = {{3, 1.0f}, {5, -1.0f}};
  params.n_logprobs = 5;
  return params;
}

GenerationRequest request_of(unsigned seed, SamplingParams sampling) {
  std::mt19937 random(seed);
  GenerationRequest request;
  request.prompt.resize(20 + seed % 21);  // one block of the cache, or two
  for (TokenId& id : request.prompt) id = static_cast<TokenId>(random() % 90);
  request.sampling = std::move(sampling);
  request.sampling.seed = seed;
  request.max_new_tokens = n_new;
  return request;
}

struct Case {
  const char* name;
  const char* model;
  int n_sequences;
  bool samples;
  bool short_of_blocks;
  const char* draft_model = nullptr;
};

class Allocations : public testing::Test {
 protected:
  Allocations() { exempt = true; }
  ~Allocations() override { refuse = false; }

  /// An engine whose prompts take several steps; with blocks for all that run at once, or only for three of them.
  std::unique_ptr<Engine> engine(const std::string& model, bool short_of_blocks = false,
                                 const char* draft_model = nullptr) {
    const auto open = [](const std::string& name) {
      return std::make_unique<Checkpoint>(Checkpoint::open(MOEBOX_TEST_DIR "/golden/" + name));
    };
    checkpoint_ = open(model);
    auto team = std::make_unique<ThreadTeam>(2);
    ModelOptions model_options;
    model_options.draft_layer = model.ends_with("-mtp");  // which drafts then
    auto loaded = load_model(*checkpoint_, *team, model_options), second = std::unique_ptr<const Model>();
    EngineOptions options;
    if (model_options.draft_layer) options.speculation = Speculation::mtp;
    if (draft_model != nullptr) {
      options.speculation = Speculation::draft;
      draft_checkpoint_ = open(draft_model);
      second = load_model(*draft_checkpoint_, *team, model_options);
    }
    options.always_draft = true;
    options.context_tokens = 64;
    options.max_sequences = 32;
    options.max_batch_tokens = 48;
    const ModelInfo* second_info = second ? &second->info() : nullptr;
    if (short_of_blocks) options.kv_bytes = EngineOptions::block_bytes(loaded->info(), second_info) * 6;
    return std::make_unique<Engine>(std::move(loaded), std::move(team), options, std::move(second));
  }

 private:
  std::unique_ptr<Checkpoint> checkpoint_, draft_checkpoint_;
};

class AllocationsOf : public Allocations, public testing::WithParamInterface<Case> {};

INSTANTIATE_TEST_SUITE_P(Engine, AllocationsOf,
                         testing::Values(Case{"OneDenseGreedy", "transformers/models/llama_gqa", 1, false, false},
                                         Case{"ManyDenseGreedy", "transformers/models/llama_gqa", 32, false, false},
                                         Case{"OneDenseSampled", "transformers/models/llama_gqa", 1, true, false},
                                         Case{"ManyDenseSampled", "transformers/models/llama_gqa", 32, true, false},
                                         Case{"ManyDensePreempted", "transformers/models/llama_gqa", 32, true, true},
                                         Case{"OneLatentSampled", "deepseek/models/tiny-v3", 1, true, false},
                                         Case{"ManyLatentSampled", "deepseek/models/tiny-v3", 32, true, false},
                                         Case{"ManyLatentPreempted", "deepseek/models/tiny-v3", 32, true, true},
                                         Case{"OneDraftedByALayer", "deepseek/models/tiny-v3-mtp", 1, false, false},
                                         Case{"ManyDraftedByALayer", "deepseek/models/tiny-v3-mtp", 32, true, false},
                                         Case{"ManyDraftedAndPreempted", "deepseek/models/tiny-v3-mtp", 32, true, true},
                                         Case{"OneDraftedByAModel", "transformers/models/llama_gqa", 1, false, false,
                                              "transformers/models/llama_gqa"},
                                         Case{"ManyDraftedByAModel", "transformers/models/llama_gqa", 32, true, false,
                                              "deepseek/models/tiny-v3"},
                                         Case{"ManyDraftedByAModelAndPreempted", "deepseek/models/tiny-v3", 32, true,
                                              true, "transformers/models/llama_gqa"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(AllocationsOf, NoneFromTheQueueToTheEnd) {
  const Case& c = GetParam();
  const auto engine = this->engine(c.model, c.short_of_blocks, c.draft_model);
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<std::shared_ptr<Sink>> sinks;
  const long before = n_allocations;
  for (int i = 0; i < c.n_sequences; ++i) {
    sinks.push_back(std::make_shared<Sink>());
    engine->submit(request_of(static_cast<unsigned>(i), c.samples ? everything() : greedy), sinks.back());
  }
  int preemptions = 0;
  for (const auto& sink : sinks) {
    sink->wait();
    EXPECT_EQ(sink->reason, FinishReason::length);
    EXPECT_EQ(sink->n_tokens, n_new);
    EXPECT_EQ(sink->n_top, c.samples ? 5 : 0);
    preemptions += sink->preemptions;
  }
  EXPECT_EQ(n_allocations - before, 0);
  EXPECT_EQ(preemptions > 0, c.short_of_blocks);
}

// Behind its end an answer becomes prompt.
TEST_F(Allocations, IdleTimeNeedsNoMemory) {
  for (const char* model : {"deepseek/models/tiny-v3", "deepseek/models/tiny-v3-mtp"}) {
    const auto engine = this->engine(model);
    SamplingParams greedy;
    greedy.temperature = 0;
    const auto sink = std::make_shared<Sink>();
    GenerationRequest request = request_of(1, greedy);
    request.max_new_tokens = 40;
    const long before = n_allocations;
    engine->submit(std::move(request), sink);
    sink->wait();
    EXPECT_TRUE(test::idle_time_was_used(*engine, test::idle_tokens_of(21, 40)));
    EXPECT_EQ(n_allocations - before, 0) << model;
  }
}

// Where others than the engine allocate on its thread (sinks, processors), no memory is the error of that one request.
TEST_F(Allocations, WithoutMemoryOnlyTheRequestThatNeedsSomeFails) {
  class Processor final : public LogitProcessor {
    void apply(std::span<float> logits, std::span<const TokenId>) override {
      kept_.assign(logits.begin(), logits.end());
    }
    std::vector<float> kept_;
  };
  const auto engine = this->engine("transformers/models/llama_gqa");
  const auto modest = std::make_shared<Sink>(), greedy = std::make_shared<Sink>(true),
             processed = std::make_shared<Sink>();
  refuse = true;
  engine->submit(request_of(1, everything()), modest);
  engine->submit(request_of(2, everything()), greedy);
  GenerationRequest request = request_of(3, everything());
  request.processors = {std::make_shared<Processor>()};
  engine->submit(std::move(request), processed);
  for (const auto& sink : {modest, greedy, processed}) sink->wait();
  EXPECT_EQ(modest->reason, FinishReason::length);
  EXPECT_EQ(modest->n_tokens, n_new);
  for (const auto& sink : {greedy, processed}) {
    EXPECT_EQ(sink->reason, FinishReason::error);
    EXPECT_EQ(sink->kind, ErrorKind::resource);
  }
  EXPECT_EQ(greedy->n_tokens, 1);
  EXPECT_EQ(processed->n_tokens, 0);
}

TEST_F(Allocations, CancellingNeedsNoMemory) {
  const auto engine = this->engine("transformers/models/llama_gqa");
  const auto sink = std::make_shared<Sink>();
  const RequestId id = engine->submit(request_of(1, everything()), sink);
  const long before = n_allocations;
  exempt = false;
  for (RequestId unknown = id + 1; unknown < id + 1000; ++unknown) engine->cancel(unknown);
  engine->cancel(id);
  engine->cancel(id);
  exempt = true;
  sink->wait();
  EXPECT_EQ(n_allocations - before, 0);
}

}  // namespace
}  // namespace moebox

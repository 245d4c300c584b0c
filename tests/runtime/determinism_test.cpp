// The guarantee of docs/determinism.md: a sequence's logits are a function of its own tokens. Bits, not tolerances.
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>

#include <gtest/gtest.h>
#include <unistd.h>

#include "convert/convert.h"
#include "io/checkpoint.h"
#include "models/model.h"
#include "runtime/block_pool.h"
#include "speed.h"

namespace moebox {
namespace {

struct Source {
  std::string name, path;
  int n_tokens;  // of the sequence that is watched
  bool real = false;
  int n_prompt = 1 << 20;  // tokens from here on have the role "generated"
  std::string type = "";   // to which the model is converted first
  KvType kv_type = KvType::f16;
};

void PrintTo(const Source& source, std::ostream* out) { *out << source.name; }

std::vector<Source> sources() {
  const std::string golden = MOEBOX_TEST_DIR "/golden/transformers/models/";
  const std::string deepseek = MOEBOX_TEST_DIR "/golden/deepseek/models/";
  std::vector<Source> all = {
      {"f32", golden + "llama_gqa", 75},
      {"q8_0", golden + "llama_gqa/q8_0.gguf", 75},
      {"qwen2", golden + "qwen2_tied", 75},
      {"deepseek_v2", deepseek + "tiny-v2", 75, false, 1},
      {"deepseek_v3", deepseek + "tiny-v3", 150, false, 100},
      {"deepseek_v3_q8_0", deepseek + "tiny-v3", 150, false, 140, "Q8_0"},
      {"qwen2moe", MOEBOX_TEST_DIR "/golden/moe/models/qwen2moe", 75},
      {"gate_attention", MOEBOX_TEST_DIR "/golden/moe/models/deepseek_v2_attention", 75, false, 40},
      {"kv_q8_0", golden + "llama_gqa", 75, false, 1 << 20, "", KvType::q8_0},
      {"deepseek_v3_kv_q8_0", deepseek + "tiny-v3", 70, false, 60, "Q8_0", KvType::q8_0}};
  // Many layers and the long text would take minutes and the real models an hour; the others run the same code.
  if (!test::slow_machine) {
    all.push_back({"kv_bf16", golden + "llama_gqa", 45, false, 1 << 20, "", KvType::bf16});
    all.push_back({"gate_attention_kv_bf16", MOEBOX_TEST_DIR "/golden/moe/models/deepseek_v2_attention", 45, false, 25,
                   "", KvType::bf16});
    all.push_back({"deepseek_v2_lite", deepseek + "tiny-v2-lite", 75, false, 40});
    all.push_back({"deepseek_v3_prompt", deepseek + "tiny-v3-yarn", 300});
    all.push_back({"smollm2", MOEBOX_MODEL_DIR "/smollm2-135m-instruct-q4_1.gguf", 45, true});
    all.push_back({"qwen", MOEBOX_MODEL_DIR "/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 35, true});
  }
  return all;
}

std::vector<TokenId> random_tokens(int count, int vocab, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

/// A sequence that is fed piece by piece, and the logits of all its positions.
struct Fed {
  std::vector<TokenId> tokens;
  std::vector<int> blocks;
  int done = 0;
  std::vector<float> logits;
  int n_prompt = 1 << 20;
  RoutingBudget budget{};
};

class Runner {
 public:
  Runner(const Model& model, int n_threads, int max_tokens)
      : model_(model),
        team_(n_threads),
        pool_(model.info(), 256),
        workspace_(model.make_workspace(max_tokens, max_tokens, 2048, n_threads)) {
    // Stale memory must never enter a sum: every unwritten value is a NaN.
    std::memset(pool_.blocks().data, 0xff, pool_.bytes());
  }

  /// Feeds the next `counts[i]` tokens of each sequence in one batch.
  void step(std::vector<Fed*> sequences, const std::vector<int>& counts) {
    std::vector<TokenId> tokens;
    std::vector<BatchSpan> spans;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      Fed& fed = *sequences[i];
      const int count = std::min(counts[i], static_cast<int>(fed.tokens.size()) - fed.done);
      if (count == 0) continue;
      ASSERT_TRUE(pool_.grow(fed.blocks, fed.done + count));
      for (int first = fed.done; first < fed.done + count;) {
        const bool prompt = first < fed.n_prompt;
        const int last = prompt ? std::min(fed.done + count, fed.n_prompt) : fed.done + count;
        spans.push_back({static_cast<int>(tokens.size()), last - first, first, fed.blocks,
                         prompt ? Role::prompt : Role::generated, fed.budget});
        tokens.insert(tokens.end(), fed.tokens.begin() + first, fed.tokens.begin() + last);
        first = last;
      }
    }
    if (tokens.empty()) return;
    std::vector<int> rows(tokens.size());
    std::iota(rows.begin(), rows.end(), 0);
    const auto vocab = static_cast<std::size_t>(model_.info().vocab_size);
    std::vector<float> logits(rows.size() * vocab);
    model_.forward(team_, *workspace_, pool_.blocks(), {tokens, spans, rows, logits.data()});
    std::ptrdiff_t first_row = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      Fed& fed = *sequences[i];
      const int count = std::min(counts[i], static_cast<int>(fed.tokens.size()) - fed.done);
      if (count == 0) continue;
      const auto first = first_row * static_cast<std::ptrdiff_t>(vocab);
      first_row += count;
      fed.logits.insert(fed.logits.end(), logits.begin() + first,
                        logits.begin() + first + count * static_cast<std::ptrdiff_t>(vocab));
      fed.done += count;
    }
  }

  std::vector<float> alone(const std::vector<TokenId>& tokens, int chunk, int n_prompt = 1 << 20,
                           const RoutingBudget& budget = {}) {
    Fed fed{tokens, {}, 0, {}, n_prompt, budget};
    while (fed.done < static_cast<int>(tokens.size())) step({&fed}, {chunk});
    pool_.release(fed.blocks);
    return fed.logits;
  }

 private:
  const Model& model_;
  ThreadTeam team_;
  BlockPool pool_;
  std::unique_ptr<Workspace> workspace_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Determinism : public testing::TestWithParam<std::tuple<Source, Isa>> {
 protected:
  void SetUp() override {
    const auto& [source, isa] = GetParam();
    checkpoint_.emplace(Checkpoint::open(source.path));
    if (!source.type.empty()) {
      file_ = std::filesystem::temp_directory_path() / ("determinism-" + std::to_string(::getpid()) + ".gguf");
      ConvertOptions conversion;
      conversion.type = source.type;
      conversion.whole_kv_b = true;  // its halves are too narrow for blocks
      conversion.replace = true;
      convert(*checkpoint_, file_, conversion);
      checkpoint_.emplace(Checkpoint::open(file_));
    }
    ThreadTeam team(2);
    ModelOptions options;
    options.kernels = &kernel_table(isa);
    options.kv_type = source.kv_type;
    model_ = load_model(*checkpoint_, team, options);
    tokens_ = random_tokens(source.n_tokens, model_->info().vocab_size, 11);
    reference_ = Runner(*model_, 1, source.n_tokens).alone(tokens_, source.n_tokens, source.n_prompt);
    ASSERT_EQ(reference_.size(), tokens_.size() * static_cast<std::size_t>(model_->info().vocab_size));
  }

  void TearDown() override {
    if (!file_.empty()) std::filesystem::remove(file_);
  }

  std::filesystem::path file_;  // of a converted model
  std::optional<Checkpoint> checkpoint_;
  std::unique_ptr<const Model> model_;
  std::vector<TokenId> tokens_;
  std::vector<float> reference_;  // one thread, one chunk
};

TEST_P(Determinism, TheLogitsAreNumbers) {
  for (const float logit : reference_) ASSERT_TRUE(std::isfinite(logit));
}

TEST_P(Determinism, ChunksAndThreadsChangeNoBit) {
  const auto& [source, isa] = GetParam();
  const bool slow = source.real || test::slow_machine || isa == Isa::scalar;
  for (const int threads : slow ? std::vector{1, 2} : std::vector{1, 2, 3}) {
    Runner runner(*model_, threads, 128);
    const bool few = slow || threads > 1;  // threads beyond the processors are slow
    for (const int chunk : test::slow_machine ? std::vector{7, 128}
                           : few              ? std::vector{1, 7, 128}
                                              : std::vector{1, 2, 7, 32, 64, 128})
      EXPECT_TRUE(same_bits(runner.alone(tokens_, chunk, source.n_prompt), reference_))
          << threads << " threads, chunks of " << chunk;
  }
}

TEST_P(Determinism, TheRestOfTheBatchChangesNoBit) {
  Runner runner(*model_, 2, 512);
  std::mt19937 random(5);
  std::vector<Fed> others(31);
  Fed watched{tokens_, {}, 0, {}, std::get<0>(GetParam()).n_prompt, {}};
  std::vector<Fed*> all;
  for (unsigned i = 0; i < others.size(); ++i) {
    others[i].tokens = random_tokens(1 + static_cast<int>(random() % 40), model_->info().vocab_size, 100 + i);
    others[i].n_prompt = static_cast<int>(random() % 40);
    if (i % 3 == 0) others[i].budget.top_p = 0.5f;
    all.push_back(&others[i]);
  }
  all.insert(all.begin() + 13, &watched);
  while (watched.done < static_cast<int>(tokens_.size())) {
    std::vector<int> counts;
    for (std::size_t i = 0; i < all.size(); ++i) counts.push_back(1 + static_cast<int>(random() % 12));
    ASSERT_NO_FATAL_FAILURE(runner.step(all, counts));
  }
  EXPECT_TRUE(same_bits(watched.logits, reference_));
}

TEST_P(Determinism, ABudgetChangesNothingButItsOwnSequence) {
  if (model_->info().moe.n_layers == 0) return;
  const int n_prompt = std::get<0>(GetParam()).n_prompt;
  RoutingBudget budget{};
  budget.top_p = 0.6f;
  const auto expected = Runner(*model_, 1, 512).alone(tokens_, 512, n_prompt, budget);
  EXPECT_FALSE(same_bits(expected, reference_));
  Runner runner(*model_, 2, 512);
  Fed with{tokens_, {}, 0, {}, n_prompt, budget}, without{tokens_, {}, 0, {}, n_prompt, {}};
  while (with.done < static_cast<int>(tokens_.size())) ASSERT_NO_FATAL_FAILURE(runner.step({&with, &without}, {9, 9}));
  EXPECT_TRUE(same_bits(with.logits, expected));
  EXPECT_TRUE(same_bits(without.logits, reference_));
}

TEST_P(Determinism, EveryInstructionSetGivesTheSameBits) {
  ThreadTeam team(2);
  ModelOptions options;
  options.kernels = &kernel_table(Isa::scalar);
  options.kv_type = std::get<0>(GetParam()).kv_type;
  const auto scalar = load_model(*checkpoint_, team, options);
  const std::vector<TokenId> head(tokens_.begin(), tokens_.begin() + (std::get<0>(GetParam()).real ? 2 : 9));
  const auto expected = Runner(*scalar, 2, 16).alone(head, 16, std::get<0>(GetParam()).n_prompt);
  EXPECT_TRUE(
      same_bits(expected, {reference_.begin(), reference_.begin() + static_cast<std::ptrdiff_t>(expected.size())}));
}

/// The scalar kernels run only the small models: the last test compares everyone else with them.
std::vector<std::tuple<Source, Isa>> combinations() {
  std::vector<std::tuple<Source, Isa>> all;
  for (const Source& source : sources()) {
    for (const Isa isa : available_isas())
      if (isa != Isa::scalar || !source.real) all.emplace_back(source, isa);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Determinism, testing::ValuesIn(combinations()), [](const auto& info) {
  return std::get<0>(info.param).name + "_" + std::string(name(std::get<1>(info.param)));
});

}  // namespace
}  // namespace moebox

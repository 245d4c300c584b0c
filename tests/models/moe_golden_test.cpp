// Models with experts, and those that share their parts, against Hugging Face transformers: logits within rounding, and
// the same experts (tests/golden/deepseek, tests/golden/moe).
#include <numeric>

#include <gtest/gtest.h>
#include <unistd.h>

#include "convert/convert.h"
#include "models/golden_data.h"
#include "runtime/block_pool.h"
#include "speed.h"

namespace moebox::test {
namespace {

/// Every case, with the folder that it stands in.
const nlohmann::json& moe_cases() {
  static const nlohmann::json all = [] {
    nlohmann::json cases = nlohmann::json::array();
    for (const char* folder : {"deepseek", "moe"})
      for (nlohmann::json entry : read_json(golden_dir() / folder / "cases.json")) {
        entry["folder"] = folder;
        cases.push_back(std::move(entry));
      }
    return cases;
  }();
  return all;
}

/// What a model says of a text: logits of some positions, and the experts of all tokens.
struct Said {
  std::vector<float> logits;          // (n_positions, vocab_size)
  std::vector<std::int32_t> experts;  // (n_moe_layers, n_tokens, top_k)
  std::vector<float> dropped;         // (n_moe_layers, n_tokens)
};

struct Way {
  int chunk = 64;
  int n_prompt = -1;  // tokens from here on are generated ones; -1: none
  RoutingBudget budget{};
  int answer_chunk = 0;  // of generated tokens; 0: chunk
};

Said run_text(LoadedModel& loaded, const std::vector<TokenId>& tokens, const std::vector<int>& positions,
              const Way& way) {
  const ModelInfo& info = loaded.model->info();
  const auto n_tokens = static_cast<int>(tokens.size());
  const auto vocab = static_cast<std::size_t>(info.vocab_size);
  const auto k = static_cast<std::size_t>(info.moe.top_k);
  BlockPool pool(info, BlockPool::needed(n_tokens));
  std::vector<int> blocks;
  pool.grow(blocks, n_tokens);
  const auto workspace = loaded.model->make_workspace(way.chunk, way.chunk, n_tokens, loaded.team.size());
  Said said;
  said.experts.resize(static_cast<std::size_t>(info.moe.n_layers * n_tokens) * k);
  said.dropped.resize(static_cast<std::size_t>(info.moe.n_layers * n_tokens));
  const int border = way.n_prompt < 0 ? n_tokens : way.n_prompt;
  for (int first = 0; first < n_tokens;) {
    const bool prompt = first < border;
    const int chunk = prompt || way.answer_chunk == 0 ? way.chunk : way.answer_chunk;
    const int last = std::min({first + chunk, n_tokens, prompt ? border : n_tokens}), count = last - first;
    std::vector<int> rows(static_cast<std::size_t>(count));
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<float> logits(rows.size() * vocab);
    std::vector<std::int32_t> experts(static_cast<std::size_t>(info.moe.n_layers * count) * k);
    std::vector<float> dropped(static_cast<std::size_t>(info.moe.n_layers * count));
    BatchSpan span{0, count, first, blocks, prompt ? Role::prompt : Role::generated};
    span.budget = way.budget;
    Batch batch{
        std::span(tokens).subspan(static_cast<std::size_t>(first), rows.size()), {&span, 1}, rows, logits.data()};
    batch.routing = {experts.data(), dropped.data()};
    loaded.model->forward(loaded.team, *workspace, pool.blocks(), batch);
    for (const int position : positions)
      if (position >= first && position < last)
        said.logits.insert(said.logits.end(),
                           logits.begin() + static_cast<std::ptrdiff_t>((position - first) * info.vocab_size),
                           logits.begin() + static_cast<std::ptrdiff_t>((position - first + 1) * info.vocab_size));
    for (int layer = 0; layer < info.moe.n_layers; ++layer) {
      const auto from = static_cast<std::ptrdiff_t>(layer * count),
                 to = static_cast<std::ptrdiff_t>(layer * n_tokens + first);
      std::copy_n(experts.begin() + from * info.moe.top_k, count * info.moe.top_k,
                  said.experts.begin() + to * info.moe.top_k);
      std::copy_n(dropped.begin() + from, count, said.dropped.begin() + to);
    }
    first = last;
  }
  return said;
}

class MoeGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const auto& entry : moe_cases())
      if (entry.at("name") == GetParam()) entry_ = entry;
    ASSERT_FALSE(entry_.is_null());
    tokens_ = entry_.at("tokens").get<std::vector<TokenId>>();
    positions_ = entry_.at("positions").get<std::vector<int>>();
    tolerance_ = entry_.at("tolerance").get<double>();
    expected_.logits = read_npy(file(".logits.npy")).as<float>();
    if (!entry_.contains("smallest_margin")) return;  // a dense model
    expected_.experts = read_npy(file(".experts.npy")).as<std::int32_t>();
    margins_ = read_npy(file(".margins.npy")).as<float>();
  }

  std::filesystem::path folder() const { return golden_dir() / entry_.at("folder").get<std::string>(); }
  std::filesystem::path file(const std::string& ending) const { return folder() / (GetParam() + ending); }
  std::filesystem::path model() const { return folder() / "models" / entry_.at("model").get<std::string>(); }

  void expect_golden(LoadedModel& loaded, const Way& way, const std::string& what) {
    const Said said = run_text(loaded, tokens_, positions_, way);
    const double difference = largest_difference(said.logits, expected_.logits);
    EXPECT_LE(difference, tolerance_) << what;
    if (difference > largest_) largest_ = difference;
    expect_experts(loaded, said, what);
  }

  /// The same experts, except where the scores are closer than rounding: those are counted.
  void expect_experts(const LoadedModel& loaded, const Said& said, const std::string& what) {
    ASSERT_EQ(said.experts.size(), expected_.experts.size());
    constexpr float rounding = 1e-5f;
    const auto k = static_cast<std::size_t>(loaded.model->info().moe.top_k);
    int close = 0;
    for (std::size_t row = 0; row < margins_.size(); ++row) {
      const auto first = static_cast<std::ptrdiff_t>(row * k);
      if (std::equal(said.experts.begin() + first, said.experts.begin() + first + static_cast<std::ptrdiff_t>(k),
                     expected_.experts.begin() + first))
        continue;
      EXPECT_LT(margins_[row], rounding) << what << ": layer and token " << row;
      ++close;
    }
    EXPECT_EQ(close, 0) << what << ": no choice of these texts is that close";
  }

  nlohmann::json entry_;
  std::vector<TokenId> tokens_;
  std::vector<int> positions_;
  double tolerance_ = 0, largest_ = 0;
  Said expected_;
  std::vector<float> margins_;
};

TEST_P(MoeGolden, LogitsAndExpertsEqualTransformers) {
  LoadedModel loaded(model(), KvType::f32, 1);
  const int n_tokens = static_cast<int>(tokens_.size());
  expect_golden(loaded, {n_tokens}, "the whole prompt");
  for (const int chunk : slow_machine ? std::vector{7} : std::vector{1, 7, 64})
    expect_golden(loaded, {chunk}, "in chunks of " + std::to_string(chunk));
  expect_golden(loaded, {64, n_tokens / 2}, "half a prompt, half an answer");
  if (!slow_machine) {
    expect_golden(loaded, {1, 1}, "token by token, as an answer");
    expect_golden(loaded, {16, 1}, "as an answer that is computed again");
  }
  RecordProperty("largest_difference", std::to_string(largest_));
  std::printf("%s: largest difference %.2e, tolerance %.2e\n", GetParam().c_str(), largest_, tolerance_);
}

// One token of a long text: its positions are split over the threads in segments.
TEST_P(MoeGolden, SplitSegmentsChangeNoBit) {
  const int n_tokens = static_cast<int>(tokens_.size());
  const Way way{n_tokens, n_tokens - 3, {}, 1};
  LoadedModel one(model(), KvType::f16, 1), two(model(), KvType::f16, 2);
  EXPECT_EQ(run_text(one, tokens_, positions_, way).logits, run_text(two, tokens_, positions_, way).logits);
}

// What a value of the cache is off by in the RMS, over its own: transformers_golden_test.cpp says why.
const std::pair<KvType, double> cache_roundings[] = {
    {KvType::f16, 0x1p-12}, {KvType::bf16, 0x1p-9}, {KvType::q8_0, 2.5 / 127 / std::sqrt(12.0)}};

TEST_P(MoeGolden, ACacheOfFewerBitsCostsWhatItRounds) {
  for (const auto& [type, rounding] : cache_roundings) {
    LoadedModel loaded(model(), type, 1);
    const Said prompt = run_text(loaded, tokens_, positions_, {32});
    const Said answer = run_text(loaded, tokens_, positions_, {32, 1});
    // A choice of experts may turn over: most rows must be as close as the cache's rounding allows.
    for (const Said* said : {&prompt, &answer}) {
      const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
      std::vector<double> errors;
      for (std::size_t row = 0; row < positions_.size(); ++row)
        errors.push_back(
            relative_rms({said->logits.data() + row * vocab, vocab}, {expected_.logits.data() + row * vocab, vocab}));
      std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
      const double median = errors[errors.size() / 2];
      std::printf("%s, cache type %d: median error %.1e\n", GetParam().c_str(), static_cast<int>(type), median);
      EXPECT_LE(median, 16 * rounding);
    }
    if (slow_machine) break;
  }
}

TEST_P(MoeGolden, ABudgetDropsMassAndTheDefaultDropsNone) {
  LoadedModel loaded(model(), KvType::f32, 1);
  const auto k = static_cast<std::size_t>(loaded.model->info().moe.top_k);
  if (k == 0) return;
  const Said whole = run_text(loaded, tokens_, positions_, {64});
  for (const float dropped : whole.dropped) EXPECT_EQ(dropped, 0.0f);
  Way way{64};
  way.budget.max_experts = 1;
  const Said one = run_text(loaded, tokens_, positions_, way);
  for (std::size_t row = 0; row < one.dropped.size(); ++row) {
    EXPECT_GT(one.dropped[row], 0.0f);
    EXPECT_LT(one.dropped[row], 1.0f);
    EXPECT_GE(one.experts[row * k], 0);
    EXPECT_EQ(one.experts[row * k + 1], -1);
  }
  EXPECT_NE(one.logits, whole.logits);
}

/// The folder as a GGUF that goes with the test.
class TemporaryGguf {
 public:
  TemporaryGguf(const std::filesystem::path& folder, bool whole_kv_b, const std::string& type)
      : path_(std::filesystem::temp_directory_path() / ("moebox_moe_" + std::to_string(::getpid()) + ".gguf")) {
    ConvertOptions options;
    options.type = type;
    options.replace = true;
    options.whole_kv_b = whole_kv_b;
    options.n_threads = 1;
    convert(Checkpoint::open(folder), path_, options);
  }
  ~TemporaryGguf() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST_P(MoeGolden, GgufInBothShapesWithinRounding) {
  if (entry_.at("folder") != "deepseek") return;
  for (const bool whole_kv_b : {true, false})
    for (const std::string type : {"F32", "BF16"}) {
      const std::string what = (whole_kv_b ? "whole " : "split ") + type;
      const TemporaryGguf file(model(), whole_kv_b, type);
      LoadedModel loaded(file.path(), KvType::f32, 1);
      expect_golden(loaded, {64}, what + ", a prompt");
      expect_golden(loaded, {16, 1}, what + ", an answer");
    }
}

TEST_P(MoeGolden, Q8ErrsAsMuchAsInt8Does) {
  if (entry_.at("folder") != "deepseek") return;
  // With a cache of fewer bits than F32, attention over a whole kv_b is on numbers of 8 bits, too.
  for (const auto& [whole_kv_b, kv_type] : {std::pair{true, KvType::f32}, std::pair{false, KvType::f32},
                                            std::pair{true, KvType::f16}, std::pair{true, KvType::q8_0}}) {
    const TemporaryGguf file(model(), whole_kv_b, "Q8_0");
    LoadedModel loaded(file.path(), kv_type, 1);
    const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
    const Said whole = run_text(loaded, tokens_, positions_, {static_cast<int>(tokens_.size()), 1});
    EXPECT_EQ(run_text(loaded, tokens_, positions_, {7, 1}).logits, whole.logits);
    std::vector<double> errors;  // a choice of experts may turn over: the median says what rounding does
    for (std::size_t row = 0; row < positions_.size(); ++row)
      errors.push_back(
          relative_rms({whole.logits.data() + row * vocab, vocab}, {expected_.logits.data() + row * vocab, vocab}));
    std::sort(errors.begin(), errors.end());
    std::printf("%s Q8_0: median error %.2e\n", GetParam().c_str(), errors[errors.size() / 2]);
    EXPECT_LE(errors[errors.size() / 2], 0.15);
    EXPECT_GT(errors.front(), 1e-4);
  }
}

std::vector<std::string> moe_case_names() {
  std::vector<std::string> all;
  for (const auto& entry : moe_cases()) {
    const auto name = entry.at("name").get<std::string>();
    const bool is_long = name.find("-long") != std::string::npos;
    if (!(slow_machine && is_long)) all.push_back(name);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, MoeGolden, ::testing::ValuesIn(moe_case_names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace moebox::test

// Tiny models against the logits that Hugging Face transformers computed (tests/golden/transformers/make_golden.py):
// RoPE scalings, grouped queries, biases, tied outputs, both formats, every way to cut a prompt into chunks.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <gtest/gtest.h>

#include "models/golden_data.h"
#include "speed.h"

namespace moebox::test {
namespace {

std::filesystem::path folder() { return golden_dir() / "transformers"; }

const nlohmann::json& cases() {
  static const nlohmann::json all = read_json(folder() / "cases.json").at("cases");
  return all;
}

struct Golden {
  explicit Golden(const nlohmann::json& entry, const std::string& logits_file)
      : model(folder() / "models" / entry.at("model").get<std::string>()),
        tokens(entry.at("tokens").get<std::vector<TokenId>>()),
        positions(entry.at("positions").get<std::vector<int>>()),
        logits(read_npy(folder() / logits_file).as<float>()) {}

  std::filesystem::path model;
  std::vector<TokenId> tokens;
  std::vector<int> positions;
  std::vector<float> logits;  // (n_positions, vocab_size)
};

class TransformersGolden : public ::testing::TestWithParam<std::string> {
 protected:
  const nlohmann::json& entry() const {
    return *std::find_if(cases().begin(), cases().end(), [](const auto& c) { return c.at("name") == GetParam(); });
  }
  Golden golden() const { return Golden(entry(), entry().at("logits").get<std::string>()); }
  double tolerance() const { return entry().at("tolerance").get<double>(); }
};

TEST_P(TransformersGolden, FolderWithinRounding) {
  const Golden golden = this->golden();
  LoadedModel loaded(golden.model, KvType::f32, 1);
  const auto logits = logits_at(loaded, golden.tokens, golden.positions, static_cast<int>(golden.tokens.size()));
  EXPECT_LE(largest_difference(logits, golden.logits), tolerance());
}

TEST_P(TransformersGolden, SameBitsInChunksOfAnySizeAndOnTwoThreads) {
  const Golden golden = this->golden();
  LoadedModel loaded(golden.model, KvType::f32, 1);
  const auto whole = logits_at(loaded, golden.tokens, golden.positions, static_cast<int>(golden.tokens.size()));
  for (const int chunk : slow_machine ? std::vector{1, 33} : std::vector{1, 2, 7, 31, 32, 33, 64, 100})
    EXPECT_EQ(logits_at(loaded, golden.tokens, golden.positions, chunk), whole) << "chunks of " << chunk;
  LoadedModel two(golden.model, KvType::f32, 2);
  EXPECT_EQ(logits_at(two, golden.tokens, golden.positions, static_cast<int>(golden.tokens.size())), whole);
  EXPECT_EQ(logits_at(two, golden.tokens, golden.positions, 13), whole);
}

// f16 keys and values: each is off by 2^-12 of itself in the RMS at most, whatever the model; a few layers let it grow
// some times.
TEST_P(TransformersGolden, HalfPrecisionCacheCostsLittle) {
  const Golden golden = this->golden();
  LoadedModel loaded(golden.model, KvType::f16, 1);
  const auto logits = logits_at(loaded, golden.tokens, golden.positions, 32);
  EXPECT_LE(relative_rms(logits, golden.logits), 8 * 0x1p-12);
}

// The same for the other types, against the logits with a cache of F32. BF16 has 3 bits less. Q8_0 is off by scale /
// sqrt(12) in the RMS, its scale is the group's largest / 127, and the largest of 32 numbers is seldom beyond 2.5 of
// their RMS.
TEST_P(TransformersGolden, OtherCachesCostWhatTheyRound) {
  const Golden golden = this->golden();
  const auto logits_with = [&](KvType type) {
    LoadedModel loaded(golden.model, type, 1);
    return logits_at(loaded, golden.tokens, golden.positions, 32);
  };
  const std::vector<float> exact = logits_with(KvType::f32);
  for (const auto& [type, rounding] :
       {std::pair{KvType::bf16, 0x1p-9}, std::pair{KvType::q8_0, 2.5 / 127 / std::sqrt(12.0)}}) {
    const double error = relative_rms(logits_with(type), exact);
    std::printf("%s, cache of %s: relative error %.1e\n", GetParam().c_str(), type == KvType::bf16 ? "BF16" : "Q8_0",
                error);
    EXPECT_LE(error, 8 * rounding);
    EXPECT_GT(error, 1e-5);  // it was rounded
  }
}

TEST_P(TransformersGolden, GgufTwinsWithinRounding) {
  const Golden golden = this->golden();
  const auto types = entry().value("gguf", std::vector<std::string>());
  for (const std::string& type : types) {
    if (type == "q8_0") continue;  // below
    LoadedModel loaded(golden.model / (type + ".gguf"), KvType::f32, 1);
    const auto logits = logits_at(loaded, golden.tokens, golden.positions, 64);
    EXPECT_LE(largest_difference(logits, golden.logits), tolerance()) << type;
  }
}

TEST_P(TransformersGolden, Q8WithinTheBudgetOfInt8Activations) {
  if (!entry().contains("q8_0")) return;
  const auto& q8 = entry().at("q8_0");
  const Golden golden(entry(), q8.at("logits").get<std::string>());
  LoadedModel loaded(golden.model / "q8_0.gguf", KvType::f32, 1);
  const auto logits = logits_at(loaded, golden.tokens, golden.positions, 64);
  const double error = relative_rms(logits, golden.logits);
  EXPECT_LE(error, q8.at("budget_relative_rms").get<double>());
  RecordProperty("relative_rms", std::to_string(error));
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& c : cases()) all.push_back(c.at("name").get<std::string>());
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformersGolden, ::testing::ValuesIn(names()),
                         [](const auto& param) { return param.param; });

// A text that differs only after a position must not change the logits up to it: a cache or mask that leaks would.
TEST(TransformersGoldenCausality, LaterTokensChangeNothingBefore) {
  const Golden golden(cases().at(0), cases().at(0).at("logits").get<std::string>());
  LoadedModel loaded(golden.model, KvType::f32, 2);
  auto changed = golden.tokens;
  for (std::size_t i = 64; i < changed.size(); ++i) changed[i] = (changed[i] + 1) % loaded.vocab_size();
  const std::vector<int> before = {0, 31, 32, 63};
  EXPECT_EQ(logits_at(loaded, golden.tokens, before, 80), logits_at(loaded, changed, before, 80));
}

}  // namespace
}  // namespace moebox::test

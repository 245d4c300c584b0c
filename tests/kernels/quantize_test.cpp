#include <limits>

#include <gtest/gtest.h>

#include "kernel_cases.h"
#include "kernels/activations.h"
#include "kernels/gather.h"

namespace moebox::test {
namespace {

class Quantize : public ::testing::TestWithParam<Isa> {
 protected:
  const KernelTable& table_ = kernel_table(GetParam());

  // One token's int8 and its records.
  struct Token {
    std::vector<std::int8_t> q;
    std::vector<ActivationRecord32> records;
    ActivationRecord256 record256{};
  };
  Token one(ActivationType type, const std::vector<float>& x) {
    const int n = static_cast<int>(x.size());
    AlignedBytes memory(activation_bytes(type, 1, n));
    table_.quantize(type, x.data(), n, 1, n, 0, 1, memory.data());
    Token token;
    const auto* q = reinterpret_cast<const std::int8_t*>(memory.data());
    token.q.assign(q, q + n);
    const std::byte* records = memory.data() + activation_records_offset(1, n);
    if (type == ActivationType::int8_block32) {
      token.records.resize(x.size() / 32);
      std::memcpy(token.records.data(), records, token.records.size() * sizeof(ActivationRecord32));
    } else {
      std::memcpy(&token.record256, records, sizeof token.record256);
    }
    return token;
  }
};

TEST_P(Quantize, RoundsToNearestWithTiesToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127, x[1] = 0.5f, x[2] = 1.5f, x[3] = 2.5f, x[4] = -0.5f, x[5] = -1.5f, x[6] = -2.5f, x[7] = 2.51f,
  x[8] = -127;
  const Token token = one(ActivationType::int8_block32, x);
  const std::vector<std::int8_t> expected = {127, 0, 2, 2, 0, -2, -2, 3, -127, 0};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(token.q[i], expected[i]) << i;
  EXPECT_EQ(token.records[0].scale, 1.0f);
}

TEST_P(Quantize, SumsAreThoseOfTheIntegers) {
  Random random(1);
  const std::vector<float> x = gaussians(random, 256);
  const Token by32 = one(ActivationType::int8_block32, x), by256 = one(ActivationType::int8_block256, x);
  for (std::size_t b = 0; b < 8; ++b) {
    int sum = 0, sum256[2] = {};
    for (std::size_t i = 0; i < 32; ++i) sum += by32.q[32 * b + i], sum256[i / 16] += by256.q[32 * b + i];
    const ActivationRecord32& r = by32.records[b];
    EXPECT_EQ(r.start8, -8 * sum);
    EXPECT_EQ(r.start16, -16 * sum);
    EXPECT_EQ(r.start128, -128 * sum);
    EXPECT_EQ(r.scaled_sum, r.scale * static_cast<float>(sum));
    const ActivationRecord256& k = by256.record256;
    EXPECT_EQ(128 * k.sums32_high[b] + k.sums32_low[b], sum256[0] + sum256[1]);
    for (std::size_t half = 0; half < 2; ++half) {
      EXPECT_EQ(128 * k.sums16_high[2 * b + half] + k.sums16_low[2 * b + half], sum256[half]);
      EXPECT_EQ(k.start16_by_32[2 * b + half], -32 * sum256[half]);
    }
  }
}

TEST_P(Quantize, IsWithinHalfAStep) {
  Random random(2);
  const std::vector<float> x = gaussians(random, 512);
  const Token token = one(ActivationType::int8_block32, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double scale = token.records[i / 32].scale;
    // Half a step, and the roundings of 127 / amax and of the product: 127 * 2 * 2^-24 of a step.
    EXPECT_LE(std::abs(token.q[i] * scale - x[i]), scale * (0.5 + 127 * 0x1p-22)) << i;
  }
}

TEST_P(Quantize, ZerosAndTinyValuesHaveScaleZero) {
  for (const float value : {0.0f, -0.0f, 1e-40f, 1e-31f}) {
    const Token token = one(ActivationType::int8_block32, std::vector<float>(32, value));
    EXPECT_EQ(token.records[0].scale, 0.0f);
    for (const std::int8_t q : token.q) EXPECT_EQ(q, 0);
  }
  const Token large = one(ActivationType::int8_block32, std::vector<float>(32, std::numeric_limits<float>::max()));
  EXPECT_TRUE(std::isfinite(large.records[0].scale));
  EXPECT_EQ(large.q[3], 127);
}

TEST_P(Quantize, ANonFiniteValueMakesItsBlockNaN) {
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{17}, std::size_t{31}}) {
      std::vector<float> x(256, 1.0f);
      x[32 + place] = bad;
      const Token token = one(ActivationType::int8_block32, x);
      EXPECT_EQ(token.records[0].scale, 1.0f / 127);
      EXPECT_TRUE(std::isnan(token.records[1].scale));
      EXPECT_EQ(token.q[32 + 5], 0);
      EXPECT_TRUE(std::isnan(one(ActivationType::int8_block256, x).record256.scale));
    }
  }
}

// Whoever writes which tokens, and on every instruction set: the same bytes.
TEST_P(Quantize, TokenRangesAndInstructionSetsAgree) {
  Random random(3);
  constexpr int n_columns = 768, stride = 800;
  for (const int n_tokens : {1, 5, 128, 129, 300}) {
    const std::vector<float> x = gaussians(random, static_cast<std::size_t>(n_tokens) * stride);
    for (const auto type : {ActivationType::f32, ActivationType::int8_block32, ActivationType::int8_block256}) {
      const std::size_t size = activation_bytes(type, n_tokens, n_columns);
      AlignedBytes expected(size), parts(size);
      kernel_table(Isa::scalar).quantize(type, x.data(), stride, n_tokens, n_columns, 0, n_tokens, expected.data());
      const int cuts[] = {0, n_tokens / 3, n_tokens / 2 + n_tokens / 4, n_tokens};
      for (int i = 2; i >= 0; --i) {
        table_.quantize(type, x.data(), stride, n_tokens, n_columns, cuts[i], cuts[i + 1], parts.data());
      }
      EXPECT_EQ(std::memcmp(expected.data(), parts.data(), size), 0) << n_tokens << " tokens";
    }
  }
}

// Rows are tokens in another order, some of them twice, each converted by itself.
TEST_P(Quantize, GatheredTokensAreWhatQuantizeWrites) {
  Random random(9);
  constexpr int n_columns = 512, n_different = 40;
  const std::vector<float> x = gaussians(random, std::size_t{n_different} * n_columns);
  for (const int n_rows : {1, 5, 128, 129, 300}) {
    std::vector<int> tokens;
    std::vector<float> rows;
    for (int r = 0; r < n_rows; ++r) {
      tokens.push_back(static_cast<int>(random.below(n_different)));
      rows.insert(rows.end(), x.begin() + tokens.back() * n_columns, x.begin() + (tokens.back() + 1) * n_columns);
    }
    for (const auto type : {ActivationType::f32, ActivationType::int8_block32, ActivationType::int8_block256}) {
      const std::size_t size = activation_bytes(type, n_rows, n_columns), single = activation_bytes(type, 1, n_columns);
      AlignedBytes expected(size), gathered(size), singles(single * n_different);
      table_.quantize(type, rows.data(), n_columns, n_rows, n_columns, 0, n_rows, expected.data());
      for (int t = 0; t < n_different; ++t)
        table_.quantize(type, x.data() + t * n_columns, 0, 1, n_columns, 0, 1,
                        singles.data() + static_cast<std::size_t>(t) * single);
      const int cuts[] = {0, n_rows / 3, n_rows / 2 + n_rows / 4, n_rows};
      for (int i = 2; i >= 0; --i)
        gather_activations(type, {singles.data(), single}, tokens.data(), {n_rows, n_columns, cuts[i], cuts[i + 1]},
                           gathered.data());
      EXPECT_EQ(std::memcmp(expected.data(), gathered.data(), size), 0) << n_rows << " rows";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Quantize, ::testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         isa_name);

}  // namespace
}  // namespace moebox::test

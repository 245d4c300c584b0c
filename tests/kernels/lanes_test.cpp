// Attention with queries as lanes against double arithmetic; equal bits on every instruction set; nothing that a lane
// does not see matters.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/float_types.h"
#include "kernels/kernels.h"

namespace moebox {
namespace {

struct Case {
  int key_dim, value_dim, n_positions;
  int visible[query_lanes];
  std::vector<float> q;             // (key_dim, 16)
  std::vector<float> keys, values;  // (n_positions, ..)
};

/// Lanes see the last `spread` positions in a staircase.
Case make_case(int key_dim, int value_dim, int n_positions, int spread, unsigned seed) {
  Case c{key_dim, value_dim, n_positions, {}, {}, {}, {}};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (int i = 0; i < query_lanes; ++i) c.visible[i] = std::max(1, n_positions - (query_lanes - 1 - i) * spread / 15);
  const auto draw = [&](int n, float size) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) value = normal(random) * size;
    return values;
  };
  c.q = draw(key_dim * query_lanes, 2.0f / std::sqrt(static_cast<float>(key_dim)));
  c.keys = draw(n_positions * key_dim, 1.0f);
  c.values = draw(n_positions * value_dim, 1.0f);
  return c;
}

LaneRows tile_of(const Case& c, int first) {
  return {c.keys.data() + first * c.key_dim,
          c.key_dim,
          c.values.data() + first * c.value_dim,
          c.value_dim,
          first,
          std::min(lane_tile_positions, c.n_positions - first)};
}

std::vector<float> attend(const KernelTable& kernels, const Case& c) {
  std::vector<float> state(static_cast<std::size_t>(lane_state_floats(c.value_dim)));
  kernels.lanes_begin(c.value_dim, state.data());
  for (int first = 0; first < c.n_positions; first += lane_tile_positions)
    kernels.lanes_fold({c.key_dim, c.value_dim, c.q.data(), c.visible, state.data()}, tile_of(c, first));
  kernels.lanes_finish(c.value_dim, state.data());
  return {state.begin() + 2 * query_lanes, state.end()};
}

double exact(const Case& c, int lane, int d) {
  std::vector<double> scores;
  double largest = -INFINITY, sum = 0, value = 0;
  for (int p = 0; p < c.visible[lane]; ++p) {
    double score = 0;
    for (int k = 0; k < c.key_dim; ++k)
      score += static_cast<double>(c.keys[static_cast<std::size_t>(p * c.key_dim + k)]) *
               static_cast<double>(c.q[static_cast<std::size_t>(k * query_lanes + lane)]);
    scores.push_back(score);
    largest = std::max(largest, score);
  }
  for (int p = 0; p < c.visible[lane]; ++p) {
    const double weight = std::exp(scores[static_cast<std::size_t>(p)] - largest);
    sum += weight;
    value += weight * static_cast<double>(c.values[static_cast<std::size_t>(p * c.value_dim + d)]);
  }
  return value / sum;
}

std::vector<Case> cases() {
  return {make_case(32, 24, 1, 0, 1),      make_case(32, 24, 20, 15, 2),   make_case(48, 32, 128, 3, 3),
          make_case(192, 128, 300, 15, 4), make_case(576, 512, 140, 0, 5), make_case(7, 3, 260, 150, 6)};
}

/// A score is a sum of key_dim products of size 1: its rounding error, some 2^-24 x sqrt(key_dim), is relative in the
/// probability; 4 deviations, and the exponential's and the sums' own.
double tolerance(const Case& c) { return 4 * 0x1p-24 * (std::sqrt(static_cast<double>(c.key_dim)) + 8); }

class Lanes : public ::testing::TestWithParam<Isa> {};

TEST_P(Lanes, IsTheSoftmaxOverWhatALaneSees) {
  for (const Case& c : cases()) {
    const auto out = attend(kernel_table(GetParam()), c);
    for (int lane = 0; lane < query_lanes; ++lane)
      for (int d = 0; d < c.value_dim; d += 1 + c.value_dim / 9)
        EXPECT_NEAR(out[static_cast<std::size_t>(d * query_lanes + lane)], exact(c, lane, d), tolerance(c))
            << c.key_dim << " lane " << lane;
  }
}

TEST_P(Lanes, GivesTheBitsOfTheScalarTable) {
  for (const Case& c : cases()) {
    const auto expected = attend(kernel_table(Isa::scalar), c), found = attend(kernel_table(GetParam()), c);
    EXPECT_EQ(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)), 0) << c.key_dim;
  }
}

TEST_P(Lanes, WhatALaneDoesNotSeeChangesNoBit) {
  const KernelTable& kernels = kernel_table(GetParam());
  const Case c = make_case(40, 24, 300, 200, 7);
  const auto all = attend(kernels, c);
  for (int lane = 0; lane < query_lanes; ++lane) {
    Case shorter = c;
    shorter.n_positions = c.visible[lane];
    for (int& visible : shorter.visible) visible = std::min(visible, shorter.n_positions);
    for (std::size_t i = static_cast<std::size_t>(shorter.n_positions * c.value_dim); i < c.values.size(); ++i)
      shorter.values[i] = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t i = static_cast<std::size_t>(shorter.n_positions * c.key_dim); i < c.keys.size(); ++i)
      shorter.keys[i] = std::numeric_limits<float>::quiet_NaN();
    const auto alone = attend(kernels, shorter);
    // NaN behind this lane's end, which others see: in the same tile.
    Case hostile = shorter;
    hostile.n_positions = c.n_positions;
    std::copy(std::begin(c.visible), std::end(c.visible), std::begin(hostile.visible));
    const auto beside = attend(kernels, hostile);
    for (int d = 0; d < c.value_dim; ++d) {
      const auto i = static_cast<std::size_t>(d * query_lanes + lane);
      EXPECT_EQ(std::memcmp(&all[i], &alone[i], 4), 0);
      EXPECT_EQ(std::memcmp(&all[i], &beside[i], 4), 0);
    }
  }
}

TEST_P(Lanes, SegmentsMergeIntoTheWhole) {
  const KernelTable& kernels = kernel_table(GetParam());
  const Case c = make_case(64, 32, 1000, 0, 8);
  std::vector<float> state(static_cast<std::size_t>(lane_state_floats(c.value_dim))), part = state;
  kernels.lanes_begin(c.value_dim, state.data());
  for (int begin = 0; begin < c.n_positions; begin += kv_segment_tokens) {
    kernels.lanes_begin(c.value_dim, part.data());
    for (int first = begin; first < std::min(begin + kv_segment_tokens, c.n_positions); first += lane_tile_positions)
      kernels.lanes_fold({c.key_dim, c.value_dim, c.q.data(), c.visible, part.data()}, tile_of(c, first));
    kernels.lanes_merge(c.value_dim, part.data(), state.data());
  }
  kernels.lanes_finish(c.value_dim, state.data());
  for (int lane = 0; lane < query_lanes; ++lane)
    for (int d = 0; d < c.value_dim; ++d)
      EXPECT_NEAR(state[static_cast<std::size_t>((2 + d) * query_lanes + lane)], exact(c, lane, d), tolerance(c));
}

TEST_P(Lanes, TheCachesTypeIsRoundedToAndReadBack) {
  const KernelTable& kernels = kernel_table(GetParam());
  std::vector<float> x(45), back(45);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i)) * 100.0f;
  std::vector<std::byte> stored(45 * 4);
  kernels.round_kv(KvType::f32, x.data(), 45, stored.data());
  kernels.widen_kv(KvType::f32, stored.data(), 1, 45, back.data());
  EXPECT_EQ(back, x);
  kernels.round_kv(KvType::f16, x.data(), 45, stored.data());
  kernels.widen_kv(KvType::f16, stored.data(), 1, 45, back.data());
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(back[i], to_float(to_half(x[i])));
}

TEST_P(Lanes, AScaledSumIsRoundedOnce) {
  for (const int n : {1, 15, 16, 33}) {
    std::vector<float> x(static_cast<std::size_t>(n)), y(x);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = std::cos(static_cast<float>(i)), y[i] = std::sin(static_cast<float>(i));
    const auto before = x;
    kernel_table(GetParam()).add_scaled(x.data(), y.data(), 0.3f, n);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i], std::fma(0.3f, y[i], before[i]));
  }
}

// ---- on rounded numbers ----

/// By cutting: the nearest number of 8 bits.
float to_eight_bits(float x) {
  int exponent;
  const float fraction = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(fraction * 256), exponent - 8);
}

std::vector<float> attend_rounded(const KernelTable& kernels, const Case& c) {
  const auto floats = [](int n) { return std::vector<float>(static_cast<std::size_t>(n) + 16); };
  const auto line = [](std::vector<float>& room) {
    const auto at = (reinterpret_cast<std::uintptr_t>(room.data()) + 63) / 64 * 64;
    return reinterpret_cast<std::byte*>(at);
  };
  auto q = floats(rounded_query_floats(c.key_dim)), keys = floats(rounded_key_floats(c.key_dim)),
       values = floats(rounded_value_floats(c.value_dim));
  std::vector<float> state(static_cast<std::size_t>(lane_state_floats(c.value_dim)));
  kernels.lanes_begin(c.value_dim, state.data());
  kernels.round_queries(c.key_dim, c.q.data(), line(q));
  for (int first = 0; first < c.n_positions; first += lane_tile_positions) {
    const LaneRows rows = tile_of(c, first);
    kernels.round_keys(rows.keys, rows.key_stride, rows.n_rows, c.key_dim, line(keys));
    kernels.round_values(rows.values, rows.value_stride, rows.n_rows, c.value_dim, line(values));
    kernels.lanes_fold_rounded({c.key_dim, c.value_dim, line(q), c.visible, state.data()},
                               {line(keys), line(values), first, rows.n_rows});
  }
  kernels.lanes_finish(c.value_dim, state.data());
  return {state.begin() + 2 * query_lanes, state.end()};
}

TEST_P(Lanes, RoundedIsTheSoftmaxOfRoundedNumbers) {
  for (const Case& c : cases()) {
    const auto out = attend_rounded(kernel_table(GetParam()), c);
    Case rounded = c;
    for (auto* numbers : {&rounded.q, &rounded.keys, &rounded.values})
      for (float& x : *numbers) x = to_eight_bits(x);
    for (int lane = 0; lane < query_lanes; ++lane)
      for (int d = 0; d < c.value_dim; d += 1 + c.value_dim / 9) {
        // Each probability is off by at most 2^-9 of itself: at worst all that pull one way by that.
        const double value = exact(rounded, lane, d);
        Case distance = rounded;
        for (int p = 0; p < c.n_positions; ++p) {
          float& x = distance.values[static_cast<std::size_t>(p * c.value_dim + d)];
          x = std::abs(x - static_cast<float>(value));
        }
        EXPECT_NEAR(out[static_cast<std::size_t>(d * query_lanes + lane)], value,
                    0x1.02p-9 * exact(distance, lane, d) + tolerance(c))
            << c.key_dim << " lane " << lane;
      }
  }
}

TEST_P(Lanes, RoundedGivesTheBitsOfTheScalarTable) {
  for (Case c : cases()) {
    for (const float size : {1.0f, 0x1p-38f, 0x1p-60f, 30.0f}) {  // some below what counts as zero; and peaked
      for (float& q : c.q) q *= size;
      for (float& value : c.values) value *= size;
      const auto expected = attend_rounded(kernel_table(Isa::scalar), c),
                 found = attend_rounded(kernel_table(GetParam()), c);
      EXPECT_EQ(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)), 0) << c.key_dim;
    }
  }
}

TEST_P(Lanes, WhatALaneDoesNotSeeChangesNoBitOfRoundedNumbers) {
  const KernelTable& kernels = kernel_table(GetParam());
  const Case c = make_case(40, 24, 300, 200, 7);
  const auto all = attend_rounded(kernels, c);
  for (int lane = 0; lane < query_lanes; ++lane) {
    Case hostile = c;
    const auto behind = [&](int dim) { return static_cast<std::ptrdiff_t>(c.visible[lane] * dim); };
    std::fill(hostile.values.begin() + behind(c.value_dim), hostile.values.end(), -std::nanf("0x123"));
    std::fill(hostile.keys.begin() + behind(c.key_dim), hostile.keys.end(), INFINITY);
    Case shorter = hostile;
    shorter.n_positions = c.visible[lane];
    for (int& visible : shorter.visible) visible = std::min(visible, shorter.n_positions);
    const auto beside = attend_rounded(kernels, hostile), alone = attend_rounded(kernels, shorter);
    for (int d = 0; d < c.value_dim; ++d) {
      const auto i = static_cast<std::size_t>(d * query_lanes + lane);
      EXPECT_EQ(std::memcmp(&all[i], &alone[i], 4), 0);
      EXPECT_EQ(std::memcmp(&all[i], &beside[i], 4), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Lanes, ::testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace moebox

// The types of the KV cache against ggml's own rounding (golden/kernels/make_kv_cache.py), and attention over each
// against attention over the floats that were kept.
#include <bit>
#include <cstring>
#include <fstream>
#include <span>
#include <stdexcept>

#include <gtest/gtest.h>

#include "kernel_cases.h"

namespace moebox::test {
namespace {

struct KvGolden {
  std::vector<float> values;            // groups of 32
  std::vector<std::byte> blocks;        // Q8_0
  std::vector<std::uint16_t> rounded;   // BF16
  std::vector<float> special;           // infinities, NaN, ties
  std::vector<std::uint16_t> specials;  // BF16

  KvGolden() {
    std::ifstream file(std::string(MOEBOX_TEST_DIR) + "/golden/kernels/kv_cache.bin", std::ios::binary);
    std::uint32_t sizes[2] = {};
    file.read(reinterpret_cast<char*>(sizes), sizeof sizes);
    if (!file || sizes[0] > 4096 || sizes[1] > 4096) throw std::runtime_error("kv_cache.bin is missing");
    values.resize(sizes[0]), blocks.resize(sizes[0] / 32 * 34), rounded.resize(sizes[0]);
    special.resize(sizes[1]), specials.resize(sizes[1]);
    const auto read = [&](auto& list) {
      file.read(reinterpret_cast<char*>(list.data()), static_cast<std::streamsize>(list.size() * sizeof list[0]));
    };
    read(values), read(blocks), read(rounded), read(special), read(specials);
    if (!file) throw std::runtime_error("kv_cache.bin is too short");
  }
};

class KvTypes : public ::testing::TestWithParam<Isa> {
 protected:
  const KernelTable& table_ = kernel_table(GetParam());
};

/// A token's row as the cache gives it back.
std::vector<float> kept(const KernelTable& table, KvType type, std::span<const float> row) {
  std::vector<std::byte> stored(KvShape{type}.row_bytes(static_cast<int>(row.size())));
  std::vector<float> back(row.size());
  table.round_kv(type, row.data(), static_cast<int>(row.size()), stored.data());
  table.widen_kv(type, stored.data(), 1, static_cast<int>(row.size()), back.data());
  return back;
}

/// rotated(), in the kernels' order of a group: each step takes sums of neighbours to the first half, differences to
/// the second.
std::vector<float> turned(std::vector<float> row) {
  for (std::size_t d = 0; d + 32 <= row.size(); d += 32) {
    for (int stage = 0; stage < 5; ++stage) {
      float next[32];
      for (std::size_t i = 0; i < 16; ++i) {
        next[i] = row[d + 2 * i] + row[d + 2 * i + 1];
        next[i + 16] = row[d + 2 * i] - row[d + 2 * i + 1];
      }
      std::copy(std::begin(next), std::end(next), row.begin() + static_cast<std::ptrdiff_t>(d));
    }
    for (std::size_t i = 0; i < 32; ++i) row[d + i] *= 0.17677669529663687f;
  }
  return row;
}

TEST_P(KvTypes, RowsOfQ8_0AreGgmlsBlocks) {
  const KvGolden golden;
  const int n = static_cast<int>(golden.values.size());
  std::vector<std::byte> stored(golden.blocks.size());
  table_.round_kv(KvType::q8_0, golden.values.data(), n, stored.data());
  for (std::size_t i = 0; i < stored.size(); ++i)
    ASSERT_EQ(stored[i], golden.blocks[i]) << "byte " << i % 34 << " of block " << i / 34;
  std::vector<float> back(golden.values.size()), expected(back);
  table_.widen_kv(KvType::q8_0, stored.data(), 1, n, back.data());
  dequantize_row(DType::q8_0, golden.blocks.data(), expected.data(), expected.size());
  EXPECT_EQ(back, expected);
}

TEST_P(KvTypes, Bf16IsGgmls) {
  const KvGolden golden;
  for (const auto& [values, rounded] :
       {std::pair{&golden.values, &golden.rounded}, std::pair{&golden.special, &golden.specials}}) {
    std::vector<std::uint16_t> stored(values->size());
    table_.round_kv(KvType::bf16, values->data(), static_cast<int>(values->size()),
                    reinterpret_cast<std::byte*>(stored.data()));
    EXPECT_EQ(stored, *rounded);
  }
}

TEST_P(KvTypes, WhatIsNoNumberMakesItsGroupNaN) {
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    std::vector<float> row(80, 1.5f);
    row[37] = bad;
    const std::vector<float> back = kept(table_, KvType::q8_0, row);
    for (std::size_t i = 0; i < row.size(); ++i) EXPECT_EQ(std::isnan(back[i]), i / 32 == 1) << i;
  }
}

TEST_P(KvTypes, RowsOfAnyLengthLieBehindOneAnother) {
  Random random(3);
  for (const KvType type : {KvType::f16, KvType::f32, KvType::bf16, KvType::q8_0}) {
    for (const int n : {8, 24, 32, 45, 48, 576}) {
      const std::vector<float> x = gaussians(random, static_cast<std::size_t>(3 * n));
      const std::size_t row_bytes = KvShape{type}.row_bytes(n);
      std::vector<std::byte> stored(3 * row_bytes);
      std::vector<float> back(x.size()), expected;
      for (int r = 0; r < 3; ++r) {
        const std::span<const float> row(x.data() + r * n, static_cast<std::size_t>(n));
        table_.round_kv(type, row.data(), n, stored.data() + static_cast<std::size_t>(r) * row_bytes);
        const std::vector<float> one = kept(kernel_table(Isa::scalar), type, row);
        expected.insert(expected.end(), one.begin(), one.end());
      }
      table_.widen_kv(type, stored.data(), 3, n, back.data());
      EXPECT_EQ(back, expected) << n;
    }
  }
}

// One definition of a cached value, whatever reads it: keys and values of a head, latents, few queries and many.
TEST_P(KvTypes, AttentionHasTheBitsOfAttentionOverTheKeptFloats) {
  for (const KvType type : {KvType::f16, KvType::bf16, KvType::q8_0}) {
    for (const KvShape shape : {KvShape{type, 2, 64}, KvShape{type, 1, 128}, KvShape{type, 1, 72}, KvShape{type, 2, 8},
                                KvShape{type, 1, 256}}) {
      for (const int group : {1, 3, 20}) {
        constexpr int n = 40;
        KvShape floats = shape;
        floats.type = KvType::f32;
        const int width = shape.n_kv_heads * shape.head_dim, heads = group * shape.n_kv_heads;
        Random random(7);
        const auto k = gaussians(random, static_cast<std::size_t>(n * width)), v = gaussians(random, k.size());
        const auto q = gaussians(random, static_cast<std::size_t>(heads * shape.head_dim));
        AlignedBytes stored(2 * shape.block_bytes()), wide(2 * floats.block_bytes());
        std::memset(stored.data(), 0xff, stored.size());
        std::memset(wide.data(), 0xff, wide.size());
        for (int i = 0; i < n; ++i) {
          const float *key = &k[static_cast<std::size_t>(i * width)], *value = &v[static_cast<std::size_t>(i * width)];
          table_.store_kv(shape, key, value, stored.data() + static_cast<std::size_t>(i / 32) * shape.block_bytes(),
                          i % 32);
          std::vector<float> keys, values;
          for (int h = 0; h < shape.n_kv_heads; ++h) {  // groups begin with each head
            const auto dim = static_cast<std::size_t>(shape.head_dim), at = static_cast<std::size_t>(h) * dim;
            for (const auto& [from, to] : {std::pair{key, &keys}, std::pair{value, &values}}) {
              std::vector<float> row(from + at, from + at + dim);
              if (from == key && type == KvType::q8_0) row = turned(row);
              row = kept(kernel_table(Isa::scalar), type, row);
              to->insert(to->end(), row.begin(), row.end());
            }
          }
          table_.store_kv(floats, keys.data(), values.data(),
                          wide.data() + static_cast<std::size_t>(i / 32) * floats.block_bytes(), i % 32);
        }
        const auto attend = [&](const KvShape& kv, const std::vector<float>& q, const std::byte* cache) {
          const std::byte* blocks[] = {cache, cache + kv.block_bytes()};
          std::vector<float> out(q.size()),
              partials(static_cast<std::size_t>(group * attention_partial_floats(kv.head_dim)));
          AttentionArgs args;
          args.kv = kv;
          args.n_heads = heads;
          args.scale = 0.1f;
          args.q = q.data();
          args.out = out.data();
          args.q_stride = args.out_stride = static_cast<std::ptrdiff_t>(q.size());
          args.blocks = blocks;
          args.first_position = n - 1;
          args.n_tokens = 1;
          for (int h = 0; h < kv.n_kv_heads; ++h) {
            table_.attend_segment(args, h, 0, 1, 0, partials.data());
            table_.attend_combine(args, h, 0, 1, 1, partials.data(), static_cast<std::ptrdiff_t>(partials.size()));
          }
          return out;
        };
        std::vector<float> q_turned = q;
        for (std::size_t at = 0; type == KvType::q8_0 && at < q.size();
             at += static_cast<std::size_t>(shape.head_dim)) {
          const auto from = q.begin() + static_cast<std::ptrdiff_t>(at);
          const std::vector<float> row = turned({from, from + shape.head_dim});
          std::copy(row.begin(), row.end(), q_turned.begin() + static_cast<std::ptrdiff_t>(at));
        }
        EXPECT_EQ(attend(shape, q, stored.data()), attend(floats, q_turned, wide.data()))
            << static_cast<int>(type) << ", head_dim " << shape.head_dim << ", " << group << " heads to a key head";
      }
    }
  }
}

TEST(KvShape, SaysWhatItTakes) {
  EXPECT_EQ((KvShape{KvType::f16, 3, 64}.block_bytes()), 2u * 3 * 64 * 32 * 2);
  EXPECT_EQ((KvShape{KvType::bf16, 3, 64}.block_bytes()), 2u * 3 * 64 * 32 * 2);
  EXPECT_EQ((KvShape{KvType::f32, 3, 64}.block_bytes()), 2u * 3 * 64 * 32 * 4);
  EXPECT_EQ((KvShape{KvType::q8_0, 3, 64}.block_bytes()), 2u * 3 * 32 * (64 + 4));
  EXPECT_EQ((KvShape{KvType::q8_0, 3, 72}.block_bytes()), 2u * 3 * 32 * (72 + 6));
  EXPECT_EQ((KvShape{KvType::q8_0, 0, 0, 576}.block_bytes()), 32u * 34 * 18);
  EXPECT_EQ((KvShape{KvType::q8_0, 0, 0, 48}.block_bytes()), 32u * (48 + 4));
}

INSTANTIATE_TEST_SUITE_P(Isas, KvTypes, ::testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         [](const auto& info) { return std::string(name(info.param)); });

}  // namespace
}  // namespace moebox::test

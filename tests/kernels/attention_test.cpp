#include <limits>

#include <gtest/gtest.h>

#include "kernel_cases.h"
#include "speed.h"

namespace moebox::test {
namespace {

struct Shape {
  KvType type;
  int n_heads, n_kv_heads, head_dim;
};

// A sequence's cache of one layer, and its queries.
class Sequence {
 public:
  Sequence(const KernelTable& table, Shape shape, int n_positions, std::uint64_t seed)
      : shape_(shape),
        kv_{shape.type, shape.n_kv_heads, shape.head_dim},
        n_positions_(n_positions),
        memory_(static_cast<std::size_t>((n_positions + 31) / 32) * kv_.block_bytes()) {
    Random random(seed);
    const auto width = static_cast<std::size_t>(shape.n_kv_heads * shape.head_dim);
    k_ = gaussians(random, width * static_cast<std::size_t>(n_positions));
    v_ = gaussians(random, k_.size());
    kept_k_ = kept(k_, true), kept_v_ = kept(v_, false);
    q_ = gaussians(random, static_cast<std::size_t>(n_positions * shape.n_heads * shape.head_dim));
    std::memset(memory_.data(), 0xff, memory_.size());  // NaN wherever nothing is stored
    for (int i = 0; i < n_positions; i += 32)
      blocks_.push_back(memory_.data() + static_cast<std::size_t>(i / 32) * kv_.block_bytes());
    for (int i = 0; i < n_positions; ++i) {
      const auto at = static_cast<std::size_t>(i) * width;
      table.store_kv(kv_, &k_[at], &v_[at], const_cast<std::byte*>(blocks_[static_cast<std::size_t>(i / 32)]), i % 32);
    }
  }

  // Outputs of the tokens [first, first + n), computed as one call over `chunk` tokens at a time.
  std::vector<float> attend(const KernelTable& table, int first, int n, int chunk) const {
    const int width = shape_.n_heads * shape_.head_dim, group = shape_.n_heads / shape_.n_kv_heads;
    std::vector<float> out(static_cast<std::size_t>(n * width), -1e30f);
    AttentionArgs args;
    args.kv = kv_;
    args.n_heads = shape_.n_heads;
    args.scale = scale();
    args.q = &q_[static_cast<std::size_t>(first * width)];
    args.q_stride = args.out_stride = width;
    args.out = out.data();
    args.blocks = blocks_.data();
    args.first_position = first;
    args.n_tokens = n;
    for (int t = 0; t < n; t += chunk) {
      const int end = std::min(n, t + chunk), n_segments = (first + end - 1) / kv_segment_tokens + 1;
      const std::ptrdiff_t stride = std::ptrdiff_t{end - t} * group * attention_partial_floats(shape_.head_dim);
      std::vector<float> partials(static_cast<std::size_t>(stride * n_segments), 77.0f);
      for (int head = 0; head < shape_.n_kv_heads; ++head) {
        for (int s = n_segments - 1; s >= 0; --s)
          table.attend_segment(args, head, t, end, s, partials.data() + s * stride);
        table.attend_combine(args, head, t, end, n_segments, partials.data(), stride);
      }
    }
    return out;
  }

  float scale() const { return 1 / std::sqrt(static_cast<float>(shape_.head_dim)); }

  // What the cache makes of rows of heads.
  std::vector<float> kept(std::vector<float> rows, bool keys) const {
    const auto dim = static_cast<std::size_t>(shape_.head_dim);
    for (std::size_t at = 0; at < rows.size(); at += dim) {
      for (std::size_t d = 0; d < dim; d += 32) {
        const std::span<float> x(&rows[at + d], std::min<std::size_t>(32, dim - d));
        const bool rotates = keys && shape_.type == KvType::q8_0 && x.size() == 32;
        if (rotates) {
          const std::vector<float> turned = rotated({x.begin(), x.end()});
          std::copy(turned.begin(), turned.end(), x.begin());
        }
        float largest = 0;
        for (const float value : x) largest = std::max(largest, std::abs(value));
        const float scale = largest / 127;
        for (float& value : x) {
          if (shape_.type == KvType::f16) value = to_float(to_half(value));
          if (shape_.type == KvType::bf16) value = to_float(to_bfloat16(value));
          if (shape_.type == KvType::q8_0) value = std::round(value * (1 / scale)) * to_float(to_half(scale));
        }
        if (!rotates) continue;
        std::vector<double> back(x.begin(), x.end());
        hadamard(back.data());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(back[i] / std::sqrt(32.0));
      }
    }
    return rows;
  }

  // softmax(scale q K) V of one token and head in float64, and the largest |value| it saw.
  std::vector<double> reference(int position, int head, double& largest) const {
    const int width = shape_.n_kv_heads * shape_.head_dim, kv_head = head / (shape_.n_heads / shape_.n_kv_heads);
    const float* q = &q_[static_cast<std::size_t>((position * shape_.n_heads + head) * shape_.head_dim)];
    std::vector<double> weight, out(static_cast<std::size_t>(shape_.head_dim));
    double m = -1e300, sum = 0;
    for (int i = 0; i <= position; ++i) {
      double dot = 0;
      for (int d = 0; d < shape_.head_dim; ++d) {
        dot += static_cast<double>(q[d]) *
               static_cast<double>(kept_k_[static_cast<std::size_t>(i * width + kv_head * shape_.head_dim + d)]);
      }
      weight.push_back(dot * scale());
      m = std::max(m, weight.back());
    }
    for (double& w : weight) sum += w = std::exp(w - m);
    largest = 0;
    for (int i = 0; i <= position; ++i) {
      for (int d = 0; d < shape_.head_dim; ++d) {
        const double v = kept_v_[static_cast<std::size_t>(i * width + kv_head * shape_.head_dim + d)];
        out[static_cast<std::size_t>(d)] += weight[static_cast<std::size_t>(i)] / sum * v;
        largest = std::max(largest, std::abs(v));
      }
    }
    return out;
  }

  Shape shape_;
  KvShape kv_;
  int n_positions_;
  AlignedBytes memory_;
  std::vector<const std::byte*> blocks_;
  std::vector<float> k_, v_, q_, kept_k_, kept_v_;
};

class Attention : public ::testing::TestWithParam<Isa> {
 protected:
  const KernelTable& table_ = kernel_table(GetParam());
  const KernelTable& scalar_ = kernel_table(Isa::scalar);
};

const Shape shapes[] = {{KvType::f16, 9, 3, 64},  {KvType::f32, 9, 3, 64},  {KvType::f16, 4, 1, 128},
                        {KvType::f16, 2, 2, 8},   {KvType::f16, 3, 1, 72},  {KvType::f32, 14, 2, 40},
                        {KvType::f16, 2, 1, 256}, {KvType::f32, 1, 1, 24},  {KvType::bf16, 9, 3, 64},
                        {KvType::q8_0, 9, 3, 64}, {KvType::q8_0, 7, 1, 72}, {KvType::q8_0, 2, 1, 256}};

// With u = 2^-24: a score is a dot product of head_dim fma, off by head_dim * u * sum |q k| * scale, below e = head_dim
// u |q| |k| scale, where |q| |k| <= 40^2 here; that changes each weight by a factor of at most 1 + 2 e, as do exp (4 u)
// and the rescaling by alpha (n / 32 times 5 u); the weighted sum and the normaliser round n times. So the result moves
// by at most (2 e + 4 u + 5 u n / 32 + 2 n u) times the largest |value|, for the weights and once more for their sum.
TEST_P(Attention, AgreesWithFloat64) {
  for (const Shape& shape : shapes) {
    for (const int n : {1, 31, 32, 33, 100}) {
      const Sequence sequence(table_, shape, n, 41);
      const std::vector<float> out = sequence.attend(table_, 0, n, n);
      for (int t = 0; t < n; t += n > 33 ? 9 : 1) {
        for (int head = 0; head < shape.n_heads; ++head) {
          double largest = 0;
          const std::vector<double> expected = sequence.reference(t, head, largest);
          const double e = shape.head_dim * 0x1p-24 * 1600 / std::sqrt(shape.head_dim);
          const double tolerance = 2 * (2 * e + (4 + 5.0 * n / 32 + 2 * n) * 0x1p-24) * largest;
          for (int d = 0; d < shape.head_dim; ++d) {
            ASSERT_NEAR(out[static_cast<std::size_t>((t * shape.n_heads + head) * shape.head_dim + d)],
                        expected[static_cast<std::size_t>(d)], tolerance)
                << "token " << t << " of " << n << ", head " << head << ", head_dim " << shape.head_dim;
          }
        }
      }
    }
  }
}

TEST_P(Attention, AgreesWithFloat64OverSegments) {
  const Shape shape{KvType::f16, 2, 1, 16};
  constexpr int n = 1100;
  const Sequence sequence(table_, shape, n, 42);
  for (const int t : {0, 511, 512, 1023, 1024, 1099}) {
    const std::vector<float> out = sequence.attend(table_, t, 1, 1);
    for (int head = 0; head < 2; ++head) {
      double largest = 0;
      const std::vector<double> expected = sequence.reference(t, head, largest);
      for (int d = 0; d < 16; ++d) {
        ASSERT_NEAR(out[static_cast<std::size_t>(head * 16 + d)], expected[static_cast<std::size_t>(d)],
                    4 * n * 0x1p-24 * largest);
      }
    }
  }
}

// What else is in a call must not matter: one token alone, chunks of any size, all at once.
TEST_P(Attention, BitsDoNotDependOnTheChunk) {
  for (const Shape& shape : {shapes[0], shapes[2], shapes[4], shapes[5], shapes[9], shapes[10]}) {
    const int n = table_.isa == Isa::scalar ? 70 : 540;  // the second segment starts at 512
    const Sequence sequence(table_, shape, n, 43);
    const std::vector<float> whole = sequence.attend(table_, 0, n, n);
    for (const float v : whole) ASSERT_TRUE(std::isfinite(v));
    const int first = test::slow_machine ? n - 64 : 0;
    const std::size_t values = whole.size() / static_cast<std::size_t>(n);
    const std::vector<float> rest(whole.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * values),
                                  whole.end());
    for (const int chunk : test::slow_machine ? std::vector{7, 129} : std::vector{1, 2, 7, 32, 129})
      EXPECT_TRUE(same_bits(sequence.attend(table_, first, n - first, chunk), rest)) << "chunks of " << chunk;
    // A later token alone, with its own count of segments.
    const std::vector<float> last = sequence.attend(table_, n - 1, 1, 1);
    EXPECT_TRUE(same_bits(last, {whole.end() - static_cast<std::ptrdiff_t>(last.size()), whole.end()}));
  }
}

TEST_P(Attention, EqualsScalarBitForBit) {
  for (const Shape& shape : shapes) {
    constexpr int n = 85;
    const Sequence sequence(table_, shape, n, 44), same(scalar_, shape, n, 44);
    EXPECT_EQ(std::memcmp(sequence.memory_.data(), same.memory_.data(), same.memory_.size()), 0) << "the cache";
    EXPECT_TRUE(same_bits(sequence.attend(table_, 0, n, n), same.attend(scalar_, 0, n, n)));
  }
  const Sequence longer(table_, {KvType::f16, 2, 1, 32}, 1060, 45);
  EXPECT_TRUE(same_bits(longer.attend(table_, 1030, 20, 20), longer.attend(scalar_, 1030, 20, 20)));
}

// Positions that a query does not see may hold anything, within the last block and in blocks never written.
TEST_P(Attention, StalePositionsAreNotTouched) {
  for (const KvType type : {KvType::f16, KvType::bf16, KvType::q8_0}) {
    const Shape shape{type, 4, 2, 64};
    Sequence sequence(table_, shape, 64, 46);
    const std::vector<float> before = sequence.attend(table_, 0, 40, 40);
    for (const std::uint8_t fill : {0x00, 0x7c, 0xff, 0x7f}) {
      AlignedBytes other(sequence.kv_.block_bytes());
      std::memset(other.data(), fill, other.size());
      const auto width = static_cast<std::size_t>(shape.n_kv_heads * shape.head_dim);
      for (int i = 32; i < 40; ++i) {
        const auto at = static_cast<std::size_t>(i) * width;
        table_.store_kv(sequence.kv_, &sequence.k_[at], &sequence.v_[at], other.data(), i - 32);
      }
      sequence.blocks_[1] = other.data();
      EXPECT_TRUE(same_bits(sequence.attend(table_, 0, 40, 40), before)) << "filled with " << int{fill};
      sequence.blocks_[1] = nullptr;  // tokens 0 .. 31 need no second block
      EXPECT_TRUE(same_bits(sequence.attend(table_, 0, 32, 32), {before.begin(), before.begin() + 32 * 4 * 64}));
    }
  }
}

TEST_P(Attention, ATokenThatSeesNothingGetsTheNeutralPartial) {
  const Shape shape{KvType::f16, 2, 1, 16};
  const Sequence sequence(table_, shape, 520, 47);
  AttentionArgs args;
  args.kv = sequence.kv_;
  args.n_heads = 2;
  args.scale = 1;
  args.q = &sequence.q_[static_cast<std::size_t>(510 * 32)];
  args.q_stride = 32;
  args.blocks = sequence.blocks_.data();
  args.first_position = 510;
  args.n_tokens = 4;
  const int floats = attention_partial_floats(16);
  std::vector<float> partials(static_cast<std::size_t>(4 * 2 * floats), 3.0f);
  table_.attend_segment(args, 0, 0, 4, 1, partials.data());
  for (int i = 0; i < 8; ++i) {
    const float* partial = &partials[static_cast<std::size_t>(i * floats)];
    if (i < 4) {  // positions 510 and 511 see nothing of positions 512 ...
      EXPECT_EQ(partial[0], -std::numeric_limits<float>::infinity());
      for (int d = 0; d < 17; ++d) EXPECT_EQ(partial[1 + d], 0);
    } else {
      EXPECT_GE(partial[1], 1);
    }
  }
}

TEST_P(Attention, StoreKvRoundsAsIeeeHalf) {
  const KvShape shape{KvType::f16, 1, 8};
  AlignedBytes block(shape.block_bytes());
  const std::vector<float> x = {1.0f,    65504.0f, 65520.0f, 1e-8f,
                                6.0e-8f, -2049.0f, 0.1f,     std::numeric_limits<float>::infinity()};
  table_.store_kv(shape, x.data(), x.data(), block.data(), 5);
  for (std::size_t d = 0; d < 8; ++d) {
    std::uint16_t k = 0, v = 0;
    std::memcpy(&k, block.data() + 2 * (d * 32 + 5), 2);
    std::memcpy(&v, block.data() + 2 * (8 * 32) + 2 * (5 * 8 + d), 2);
    EXPECT_EQ(k, to_half(x[d]).bits) << x[d];
    EXPECT_EQ(v, to_half(x[d]).bits) << x[d];
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Attention, ::testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         isa_name);

}  // namespace
}  // namespace moebox::test

// Attention in blocks, against the plain softmax over all visible tokens in double, whose gradients are checked by
// finite differences.
#include "train/ops/attention.h"

#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class AttentionOps : public TrainOps {};

struct AttentionCase {
  const char* name;
  std::int64_t tokens, heads, kv_heads, key_dim, value_dim;
  std::vector<std::int32_t> borders;  // where documents begin, but for the first
};

std::vector<std::int32_t> first_tokens(const AttentionCase& c) {
  std::vector<std::int32_t> first(static_cast<std::size_t>(c.tokens));
  for (std::size_t t = 0; t < first.size(); ++t) {
    for (const std::int32_t border : c.borders) {
      if (border <= static_cast<std::int32_t>(t)) first[t] = border;
    }
  }
  return first;
}

struct PlainAttention {
  std::vector<double> out, log_sum_exp, dq, dk, dv;
  double objective = 0;  // sum of out * d_out
};

PlainAttention plain_attention(const AttentionCase& c, const std::vector<std::int32_t>& first, double scale,
                               const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                               const std::vector<double>& d_out) {
  PlainAttention r;
  r.out.resize(static_cast<std::size_t>(c.tokens * c.heads * c.value_dim));
  r.log_sum_exp.resize(static_cast<std::size_t>(c.tokens * c.heads));
  r.dq.resize(q.size()), r.dk.resize(k.size()), r.dv.resize(v.size());
  const auto at = [](auto& values, std::int64_t i) -> auto& { return values[static_cast<std::size_t>(i)]; };
  const auto part_of = [&](std::int64_t token, std::int64_t n_heads, std::int64_t head, std::int64_t dim) {
    return (token * n_heads + head) * dim;
  };
  for (std::int64_t h = 0; h < c.heads; ++h) {
    const std::int64_t kv = h / (c.heads / c.kv_heads);
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      const std::int64_t from = at(first, t), q_at = part_of(t, c.heads, h, c.key_dim),
                         o_at = part_of(t, c.heads, h, c.value_dim);
      std::vector<double> p(static_cast<std::size_t>(t + 1)), dp(p.size());
      double largest = -1e300, sum = 0, delta = 0;
      for (std::int64_t s = from; s <= t; ++s) {
        double score = 0;
        for (std::int64_t d = 0; d < c.key_dim; ++d)
          score += at(q, q_at + d) * at(k, part_of(s, c.kv_heads, kv, c.key_dim) + d);
        at(p, s) = score * scale;
        largest = std::max(largest, at(p, s));
      }
      for (std::int64_t s = from; s <= t; ++s) sum += std::exp(at(p, s) - largest);
      at(r.log_sum_exp, h * c.tokens + t) = largest + std::log(sum);
      for (std::int64_t s = from; s <= t; ++s) {
        at(p, s) = std::exp(at(p, s) - largest) / sum;
        for (std::int64_t d = 0; d < c.value_dim; ++d) {
          const std::int64_t v_at = part_of(s, c.kv_heads, kv, c.value_dim) + d;
          at(r.out, o_at + d) += at(p, s) * at(v, v_at);
          at(dp, s) += at(d_out, o_at + d) * at(v, v_at);
          at(r.dv, v_at) += at(p, s) * at(d_out, o_at + d);
        }
        delta += at(p, s) * at(dp, s);
      }
      for (std::int64_t s = from; s <= t; ++s) {
        const double ds = scale * at(p, s) * (at(dp, s) - delta);
        for (std::int64_t d = 0; d < c.key_dim; ++d) {
          const std::int64_t k_at = part_of(s, c.kv_heads, kv, c.key_dim) + d;
          at(r.dq, q_at + d) += ds * at(k, k_at);
          at(r.dk, k_at) += ds * at(q, q_at + d);
        }
      }
    }
  }
  for (std::size_t i = 0; i < r.out.size(); ++i) r.objective += r.out[i] * d_out[i];
  return r;
}

template <class T>
struct AttentionData {
  std::vector<T> q, k, v, d_out;
  std::vector<std::int32_t> first;
  float scale;

  AttentionData(const AttentionCase& c, std::uint64_t seed) {
    Random random(seed);
    q = random_values<T>(random, c.tokens * c.heads * c.key_dim);
    k = random_values<T>(random, c.tokens * c.kv_heads * c.key_dim);
    v = random_values<T>(random, c.tokens * c.kv_heads * c.value_dim);
    d_out = random_values<T>(random, c.tokens * c.heads * c.value_dim);
    first = first_tokens(c);
    scale = 1 / std::sqrt(static_cast<float>(c.key_dim));
  }
};

template <class T>
struct AttentionResults {
  std::vector<T> out, dq, dk, dv;
  std::vector<float> log_sum_exp;

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    append(all, out), append(all, log_sum_exp), append(all, dq), append(all, dk), append(all, dv);
    return all;
  }
};

template <class T>
AttentionResults<T> attend(ops::Compute& compute, const AttentionCase& c, const AttentionData<T>& data) {
  AttentionResults<T> r{unwritten<T>(c.tokens * c.heads * c.value_dim), unwritten<T>(c.tokens * c.heads * c.key_dim),
                        unwritten<T>(c.tokens * c.kv_heads * c.key_dim),
                        unwritten<T>(c.tokens * c.kv_heads * c.value_dim), unwritten<float>(c.tokens * c.heads)};
  const ops::Attention<T> attention{{data.q.data(), c.tokens, c.heads, c.key_dim},
                                    {data.k.data(), c.tokens, c.kv_heads, c.key_dim},
                                    {data.v.data(), c.tokens, c.kv_heads, c.value_dim},
                                    data.first.data(),
                                    data.scale};
  const ops::Heads<T> out(r.out.data(), c.tokens, c.heads, c.value_dim);
  ops::attention_forward(compute, attention, out, r.log_sum_exp.data());
  ops::attention_backward<T>(compute, attention, out, r.log_sum_exp.data(),
                             {data.d_out.data(), c.tokens, c.heads, c.value_dim},
                             {{r.dq.data(), c.tokens, c.heads, c.key_dim},
                              {r.dk.data(), c.tokens, c.kv_heads, c.key_dim},
                              {r.dv.data(), c.tokens, c.kv_heads, c.value_dim}});
  return r;
}

const std::vector<AttentionCase>& attention_cases() {
  static const std::vector<AttentionCase> all = {
      {"one token", 1, 1, 1, 16, 16, {}},
      {"a short document", 5, 2, 1, 16, 16, {}},
      {"latent attention's dimensions", 70, 2, 2, 48, 32, {}},
      {"tails everywhere", 67, 3, 1, 37, 19, {20, 21, 50}},
      {"several tiles", 330, 1, 1, 17, 24, {100, 200}},
      {"several segments and groups", 590, 2, 1, 16, 16, {30}},
      {"only borders", 9, 1, 1, 16, 16, {1, 2, 3, 4, 5, 6, 7, 8}},
      {"wide heads", 50, 1, 1, 256, 128, {48}},
      {"nothing", 0, 2, 1, 16, 16, {}},
  };
  return all;
}

// The probabilities, ds and the output are rounded to T on the way; in float, scores' errors of size |score| units are
// what counts.
template <class T>
void check_attention(ops::Compute& compute, const AttentionCase& c) {
  const AttentionData<T> data(c, 17);
  const AttentionResults<T> found = attend(compute, c, data);
  const PlainAttention expected = plain_attention(c, data.first, static_cast<double>(data.scale), doubles(data.q),
                                                  doubles(data.k), doubles(data.v), doubles(data.d_out));
  const double limit = sizeof(T) == 4 ? 4e-6 : 3 * 0x1p-8;
  EXPECT_LE(distance(found.out, expected.out), limit);
  EXPECT_LE(distance(found.log_sum_exp, expected.log_sum_exp), 2e-6);
  EXPECT_LE(distance(found.dq, expected.dq), limit);
  EXPECT_LE(distance(found.dk, expected.dk), limit);
  EXPECT_LE(distance(found.dv, expected.dv), limit);
}

TEST_P(AttentionOps, EqualsThePlainSoftmax) {
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(c.name);
    if (slow_machine && c.tokens > 500 && GetParam() == Isa::avx2) continue;
    check_attention<float>(compute_, c);
    check_attention<BFloat16>(compute_, c);
  }
}

TEST_P(AttentionOps, TheSameBitsOnAnyNumberOfThreads) {
  for (const std::size_t i : {3, 4}) {
    const AttentionCase& c = attention_cases()[i];
    expect_same_bits(GetParam(),
                     [&](ops::Compute& compute) { return attend(compute, c, AttentionData<float>(c, 5)).bytes(); });
    expect_same_bits(GetParam(),
                     [&](ops::Compute& compute) { return attend(compute, c, AttentionData<BFloat16>(c, 5)).bytes(); });
  }
}

// What a document gives does not depend on those before it, but for where its tiles lie.
TEST_P(AttentionOps, DocumentsDoNotSeeEachOther) {
  const AttentionCase both{"", 100, 1, 1, 16, 16, {40}}, second{"", 60, 1, 1, 16, 16, {}};
  const AttentionData<float> data(both, 5);
  AttentionData<float> alone(second, 5);
  for (auto [from, to] :
       {std::pair{&data.q, &alone.q}, {&data.k, &alone.k}, {&data.v, &alone.v}, {&data.d_out, &alone.d_out}})
    to->assign(from->begin() + 40 * 16, from->end());
  const AttentionResults<float> a = attend(compute_, both, data), b = attend(compute_, second, alone);
  const auto end_of = [](const std::vector<float>& x) { return std::vector<float>(x.begin() + 40 * 16, x.end()); };
  for (auto [x, y] : {std::pair{&a.out, &b.out}, {&a.dq, &b.dq}, {&a.dk, &b.dk}, {&a.dv, &b.dv}})
    EXPECT_LE(distance(end_of(*x), doubles(*y)), 2e-6);
}

// Heads that lie in one matrix with others: (token, head, [nothing, key, value]).
TEST_P(AttentionOps, ReadsAndWritesHeadsThatLieApart) {
  const AttentionCase c{"", 53, 2, 2, 12, 6, {}};
  const AttentionData<BFloat16> data(c, 5);
  const AttentionResults<BFloat16> expected = attend(compute_, c, data);
  const std::int64_t row = 1 + 12 + 6;
  std::vector<BFloat16> kv(static_cast<std::size_t>(c.tokens * 2 * row)), d_kv = kv;
  for (std::int64_t i = 0; i < c.tokens * 2; ++i) {
    std::copy_n(data.k.begin() + i * 12, 12, kv.begin() + i * row + 1);
    std::copy_n(data.v.begin() + i * 6, 6, kv.begin() + i * row + 13);
  }
  const auto part = [&](auto& from, std::int64_t first, std::int64_t dim) {
    return ops::Heads(from.data() + first, c.tokens, 2, dim, 2 * row, row);
  };
  AttentionResults<BFloat16> found = expected;
  const ops::Attention<BFloat16> attention{{data.q.data(), c.tokens, 2, 12},
                                           part(std::as_const(kv), 1, 12),
                                           part(std::as_const(kv), 13, 6),
                                           data.first.data(),
                                           data.scale};
  const ops::Heads<BFloat16> out(found.out.data(), c.tokens, 2, 6);
  ops::attention_forward(compute_, attention, out, found.log_sum_exp.data());
  ops::attention_backward<BFloat16>(compute_, attention, out, found.log_sum_exp.data(),
                                    {data.d_out.data(), c.tokens, 2, 6},
                                    {{found.dq.data(), c.tokens, 2, 12}, part(d_kv, 1, 12), part(d_kv, 13, 6)});
  for (std::int64_t i = 0; i < c.tokens * 2; ++i) {
    std::copy_n(d_kv.begin() + i * row + 1, 12, found.dk.begin() + i * 12);
    std::copy_n(d_kv.begin() + i * row + 13, 6, found.dv.begin() + i * 6);
    EXPECT_EQ(to_float(d_kv[static_cast<std::size_t>(i * row)]), 0);
  }
  EXPECT_TRUE(same_bytes(found.bytes(), expected.bytes()));
}

TEST_P(AttentionOps, WrongBordersAndShapesAreErrors) {
  std::vector<float> x(64), lse(8);
  const auto heads = [&](std::int64_t n) { return ops::Heads<const float>(x.data(), 4, n, 4); };
  const ops::Heads<float> out(x.data(), 4, 2, 4);
  for (const std::vector<std::int32_t>& first : {std::vector<std::int32_t>{0, 0, 3, 0}, {0, 1, 0, 0}, {-1, 0, 0, 0}})
    EXPECT_THROW(
        ops::attention_forward<float>(compute_, {heads(2), heads(2), heads(2), first.data(), 1}, out, lse.data()),
        Error);
  const std::int32_t good[4] = {};
  EXPECT_THROW(ops::attention_forward<float>(compute_, {heads(3), heads(2), heads(2), good, 1}, out, lse.data()),
               Error);
  EXPECT_THROW(ops::attention_forward<float>(compute_, {heads(2), heads(2), heads(1), good, 1}, out, lse.data()),
               Error);
}

MOEBOX_FOR_ALL_ISAS(AttentionOps);

TEST(AttentionBorders, RowsOfABatchAndDocumentsBegin) {
  const std::int32_t documents[] = {0, 0, 1, 1, 1, 2};
  EXPECT_EQ(ops::first_visible(documents, 2, 3), (std::vector<std::int32_t>{0, 0, 2, 3, 3, 5}));
  EXPECT_EQ(ops::first_visible(nullptr, 2, 3), (std::vector<std::int32_t>{0, 0, 0, 3, 3, 3}));
}

TEST(AttentionReference, GradientsEqualFiniteDifferences) {
  const AttentionCase c{"", 6, 2, 1, 3, 2, {4}};
  const AttentionData<float> data(c, 3);
  std::vector<double> q = doubles(data.q), k = doubles(data.k), v = doubles(data.v), d_out = doubles(data.d_out);
  const auto result = [&] { return plain_attention(c, data.first, 0.5, q, k, v, d_out); };
  const PlainAttention r = result();
  for (auto [values, gradients] : {std::pair{&q, &r.dq}, {&k, &r.dk}, {&v, &r.dv}}) {
    for (std::size_t i = 0; i < values->size(); ++i) {
      const double old = (*values)[i];
      (*values)[i] = old + 1e-5;
      const double above = result().objective;
      (*values)[i] = old - 1e-5;
      const double below = result().objective;
      (*values)[i] = old;
      ASSERT_NEAR((above - below) / 2e-5, (*gradients)[i], 1e-8) << i;
    }
  }
}

}  // namespace
}  // namespace moebox::test

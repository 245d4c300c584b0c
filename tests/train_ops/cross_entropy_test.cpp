// The loss with the head's product in it, against its definition in double, whose gradients are checked by finite
// differences.
#include "train/ops/cross_entropy.h"

#include <limits>

#include "train_ops/cases.h"

namespace moebox::test {
namespace {

class CrossEntropyOps : public TrainOps {};

struct PlainLoss {
  double loss = 0, z_loss = 0, objective = 0;  // scale * (loss + z * z_loss)
  std::vector<double> d_rows, d_head;
};

PlainLoss plain_loss(const std::vector<double>& rows, const std::vector<double>& head,
                     const std::vector<std::int64_t>& targets, std::size_t hidden, double scale, double z) {
  PlainLoss r;
  r.d_rows.resize(rows.size()), r.d_head.resize(head.size());
  const std::size_t vocab = head.size() / hidden;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] < 0) continue;
    std::vector<double> logits(vocab);
    double largest = -1e300, sum = 0;
    for (std::size_t v = 0; v < vocab; ++v) {
      for (std::size_t h = 0; h < hidden; ++h) logits[v] += rows[row * hidden + h] * head[v * hidden + h];
      largest = std::max(largest, logits[v]);
    }
    for (const double l : logits) sum += std::exp(l - largest);
    const double lse = largest + std::log(sum);
    const auto target = static_cast<std::size_t>(targets[row]);
    r.loss += lse - logits[target];
    r.z_loss += lse * lse;
    for (std::size_t v = 0; v < vocab; ++v) {
      const double d = scale * (std::exp(logits[v] - lse) * (1 + 2 * z * lse) - (v == target ? 1 : 0));
      for (std::size_t h = 0; h < hidden; ++h) {
        r.d_rows[row * hidden + h] += d * head[v * hidden + h];
        r.d_head[v * hidden + h] += d * rows[row * hidden + h];
      }
    }
  }
  r.objective = scale * (r.loss + z * r.z_loss);
  return r;
}

struct LossCase {
  std::int64_t rows, hidden, vocab, chunk;
  float z_loss;
  int masked;  // one row of so many has no target; 1: all
};

template <class T>
std::vector<std::byte> check_loss(ops::Compute& compute, const LossCase& c) {
  Random random(static_cast<std::uint64_t>(c.rows * 1000 + c.vocab));
  const auto rows = random_values<T>(random, c.rows * c.hidden),
             head = random_values<T>(random, c.vocab * c.hidden, 0.5f);
  std::vector<std::int64_t> targets;
  for (int i = 0; i < c.rows; ++i)
    targets.push_back(c.masked > 0 && i % c.masked == 0 ? -100 : random.below(static_cast<int>(c.vocab)));
  const float scale = 0.25f;
  auto d_rows = unwritten<T>(c.rows * c.hidden);
  auto d_head = unwritten<float>(c.vocab * c.hidden);
  const ops::CrossEntropy<T> operands{
      rows_of(rows, c.rows, c.hidden), rows_of(head, c.vocab, c.hidden), targets.data(), scale, c.z_loss, c.chunk};
  const ops::CrossEntropyLoss found =
      ops::cross_entropy(compute, operands, rows_of(d_rows, c.rows, c.hidden), d_head.data(), false);
  const PlainLoss expected = plain_loss(doubles(rows), doubles(head), targets, static_cast<std::size_t>(c.hidden),
                                        static_cast<double>(scale), static_cast<double>(c.z_loss));
  // Logits are sums of `hidden` products; the gradients of logits are rounded to T.
  EXPECT_NEAR(found.loss, expected.loss, 1e-5 * std::abs(expected.loss) + 1e-6 * static_cast<double>(c.rows));
  EXPECT_NEAR(found.z_loss, expected.z_loss, 1e-5 * std::abs(expected.z_loss) + 1e-6 * static_cast<double>(c.rows));
  const double limit = sizeof(T) == 4 ? 4e-6 : 2 * 0x1p-8;
  EXPECT_LT(distance(d_rows, expected.d_rows), limit);
  EXPECT_LT(distance(d_head, expected.d_head), limit);
  std::int64_t n_targets = 0;
  for (const std::int64_t target : targets) n_targets += target >= 0;
  EXPECT_EQ(found.n_targets, n_targets);
  // The loss alone.
  const ops::CrossEntropyLoss only = ops::cross_entropy(compute, operands, ops::Rows<T>(), nullptr, false);
  EXPECT_EQ(only.loss, found.loss);
  std::vector<std::byte> bytes;
  append(bytes, d_rows), append(bytes, d_head), append(bytes, std::vector<double>{found.loss, found.z_loss});
  return bytes;
}

TEST_P(CrossEntropyOps, EqualsItsDefinition) {
  for (const LossCase& c : {LossCase{40, 16, 50, 1024, 0, 3},
                            {33, 24, 35, 7, 1e-2f, 4},
                            {1, 3, 1, 1, 0, 0},
                            {5, 8, 4113, 2, 1e-3f, 0},
                            {6, 4, 9, 4, 0, 1},
                            {0, 4, 9, 4, 0, 0}}) {
    SCOPED_TRACE(std::to_string(c.rows) + " " + std::to_string(c.vocab));
    check_loss<float>(compute_, c);
    check_loss<BFloat16>(compute_, c);
  }
}

TEST_P(CrossEntropyOps, TheSameBitsOnAnyNumberOfThreads) {
  for (const LossCase& c : {LossCase{90, 20, 61, 32, 1e-3f, 5}}) {
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return check_loss<float>(compute, c); });
    expect_same_bits(GetParam(), [&](ops::Compute& compute) { return check_loss<BFloat16>(compute, c); });
  }
}

TEST_P(CrossEntropyOps, GradientsOfTheHeadAreAddedOnRequest) {
  const std::vector<float> rows = {1, 2}, head = {0.5f, -1, 2, 0.25f};
  const std::int64_t target = 1;
  std::vector<float> d_rows(2), once(4), added(4, 3);
  const ops::CrossEntropy<float> operands{rows_of(rows, 1, 2), rows_of(head, 2, 2), &target};
  ops::cross_entropy(compute_, operands, rows_of(d_rows, 1, 2), once.data(), false);
  ops::cross_entropy(compute_, operands, rows_of(d_rows, 1, 2), added.data(), true);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(added[i], 3 + once[i]);
}

// Far apart logits: e^x overflows without the shift; a target that is as good as certain costs nothing.
TEST_P(CrossEntropyOps, LargeLogits) {
  const std::vector<float> rows = {100}, head = {10, -10, 9};
  for (const std::int64_t target : {0, 1}) {
    std::vector<float> d_rows(1), d_head(3);
    const ops::CrossEntropy<float> operands{rows_of(rows, 1, 1), rows_of(head, 3, 1), &target};
    const ops::CrossEntropyLoss loss =
        ops::cross_entropy(compute_, operands, rows_of(d_rows, 1, 1), d_head.data(), false);
    EXPECT_EQ(loss.loss, target == 0 ? 0 : 2000);
    EXPECT_EQ(d_rows[0], target == 0 ? 0 : 20);
  }
}

TEST_P(CrossEntropyOps, ATargetOutsideTheVocabularyIsAnError) {
  const std::vector<float> rows(2), head(4);
  std::vector<float> d_rows(2), d_head(4);
  const std::int64_t target = 2;
  const ops::CrossEntropy<float> operands{rows_of(rows, 1, 2), rows_of(head, 2, 2), &target};
  EXPECT_THROW(ops::cross_entropy(compute_, operands, rows_of(d_rows, 1, 2), d_head.data(), false), Error);
}

// A weight that is not a number must not give a loss that is one.
TEST_P(CrossEntropyOps, NanStaysNan) {
  const std::vector<float> rows = {1}, head = {std::nanf(""), 1, 2};
  const std::int64_t target = 1;
  std::vector<float> d_rows(1), d_head(3);
  const ops::CrossEntropy<float> operands{rows_of(rows, 1, 1), rows_of(head, 3, 1), &target};
  EXPECT_TRUE(std::isnan(ops::cross_entropy(compute_, operands, rows_of(d_rows, 1, 1), d_head.data(), false).loss));
  EXPECT_TRUE(std::isnan(d_rows[0]));
}

MOEBOX_FOR_ALL_ISAS(CrossEntropyOps);

TEST(CrossEntropyReference, GradientsEqualFiniteDifferences) {
  Random random(5);
  std::vector<double> rows = doubles(random_values<float>(random, 6)), head = doubles(random_values<float>(random, 15));
  const std::vector<std::int64_t> targets = {4, -100};
  const auto objective = [&] { return plain_loss(rows, head, targets, 3, 0.5, 0.1).objective; };
  const PlainLoss r = plain_loss(rows, head, targets, 3, 0.5, 0.1);
  for (auto [values, gradients] : {std::pair{&rows, &r.d_rows}, std::pair{&head, &r.d_head}}) {
    for (std::size_t i = 0; i < values->size(); ++i) {
      const double old = (*values)[i];
      (*values)[i] = old + 1e-5;
      const double above = objective();
      (*values)[i] = old - 1e-5;
      const double below = objective();
      (*values)[i] = old;
      ASSERT_NEAR((above - below) / 2e-5, (*gradients)[i], 1e-8) << i;
    }
  }
}

}  // namespace
}  // namespace moebox::test

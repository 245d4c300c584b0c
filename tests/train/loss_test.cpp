// The chunked cross-entropy, masks, packed documents, further tokens, and float32 against bfloat16.
#include "train/loss.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/initial_weights.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

TEST(CrossEntropy, IsTorchsInDoublePrecision) {
  const Tensor targets = at::arange(20, at::kLong).remainder(7);
  targets.narrow(0, 5, 4).fill_(no_target);
  for (const std::int64_t chunk : {1, 6, 16, 100}) {
    const Tensor rows = normal({20, 12}, 1).requires_grad_(true), head = normal({9, 12}, 2).requires_grad_(true);
    const Tensor sum = cross_entropy(rows, head, targets, chunk);
    (sum * 0.25).backward();
    const Tensor exact_rows = rows.detach().to(at::kDouble).requires_grad_(true),
                 exact_head = head.detach().to(at::kDouble).requires_grad_(true);
    const Tensor exact = at::cross_entropy_loss(at::mm(exact_rows, exact_head.t()), targets, {}, at::Reduction::Sum);
    (exact * 0.25).backward();
    // Sums of 12 and 9 products in float32.
    EXPECT_NEAR(sum.item<double>(), exact.item<double>(), 12 * 0x1p-23 * exact.item<double>()) << chunk;
    EXPECT_LE(distance(rows.grad(), exact_rows.grad()), 12 * 0x1p-23 * length_of(exact_rows.grad())) << chunk;
    EXPECT_LE(distance(head.grad(), exact_head.grad()), 12 * 0x1p-23 * length_of(exact_head.grad())) << chunk;
  }
}

TEST(CrossEntropy, AnEmptyMaskIsAnError) {
  const Tensor rows = normal({4, 3}, 1), head = normal({5, 3}, 2);
  try {
    cross_entropy(rows, head, at::full({4}, no_target, at::kLong));
    FAIL() << "an empty mask gave a loss";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("no token of the batch has a target"), std::string::npos);
  }
}

TEST(CrossEntropy, ATargetOutsideTheVocabularyIsAnError) {
  const Tensor rows = normal({2, 3}, 1), head = normal({5, 3}, 2);
  for (const std::int64_t target : {std::int64_t{5}, std::int64_t{-1}})
    EXPECT_THROW(cross_entropy(rows, head, at::tensor({std::int64_t{0}, target}, at::kLong)), Error) << target;
}

TEST(FurtherTargets, StandFurtherOnInTheSameDocument) {
  Batch batch;
  batch.tokens = integers({{10, 11, 12, 13, 20, 21}});
  batch.targets = integers({{11, 12, 13, no_target, 21, no_target}});
  EXPECT_TRUE(same_bits(further_targets(batch, 1), integers({{12, 13, no_target, 21, no_target, no_target}})));
  batch.documents = integers({{0, 0, 0, 0, 1, 1}}).to(at::kInt);
  EXPECT_TRUE(same_bits(further_targets(batch, 1), integers({{12, 13, no_target, no_target, no_target, no_target}})));
  EXPECT_TRUE(same_bits(further_targets(batch, 7), at::full({1, 6}, no_target, at::kLong)));
}

class SmallModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Model> load() const {
    return make_model(Checkpoint::open(golden_dir() / "train/models" / GetParam()),
                      {.further_tokens = GetParam().ends_with("_mtp")});
  }
  static Tensor some_tokens(std::int64_t n, std::int64_t seed) {
    return (at::arange(n, at::kLong) * (17 + seed) + 5).remainder(96).reshape({1, n});
  }
};

/// Documents packed into one row, and padding behind them, have the loss and the gradients of rows of their own.
TEST_P(SmallModel, PackedDocumentsDoNotSeeEachOther) {
  const Tensor a = some_tokens(9, 0), b = some_tokens(7, 1), padding = at::zeros({1, 4}, at::kLong);
  const auto next = [](const Tensor& tokens) { return shifted(tokens); };
  Batch packed;
  packed.tokens = at::cat({a, b, padding}, 1);
  packed.targets = at::cat({next(a), next(b), at::full({1, 4}, no_target, at::kLong)}, 1);
  packed.documents = at::cat({at::zeros({1, 9}), at::ones({1, 7}), at::full({1, 4}, -1)}, 1).to(at::kInt);
  const auto together = load();
  const Loss loss = compute_loss(*together, packed, together->forward(packed, {}), {.further_weight = 0.5});
  loss.total.backward();
  const auto apart = load();
  double sum = 0;
  std::int64_t n_tokens = 0;
  for (const Tensor& tokens : {a, b}) {
    const Batch one{tokens, next(tokens), {}};
    const ForwardResult result = apart->forward(one, {});
    const Loss part = compute_loss(*apart, one, result, {.further_weight = 0.5}, count(packed));
    part.total.backward();
    sum += part.total.item<double>();
    n_tokens += tokens.numel();
  }
  EXPECT_NEAR(loss.total.item<double>(), sum, 1e-6 * sum);
  EXPECT_EQ(count(packed).n_targets, n_tokens - 2);
  EXPECT_EQ(count(packed).n_tokens, n_tokens);
  for (std::size_t i = 0; i < together->weights().all().size(); ++i) {
    const Weight &x = together->weights().all()[i], &y = apart->weights().all()[i];
    if (!x.values.grad().defined() || !y.values.grad().defined()) continue;
    // float32, sums over the 16 tokens in another order and through all layers.
    EXPECT_LE(distance(x.values.grad(), y.values.grad()), 1e-4 * length_of(y.values.grad()) + 1e-7)
        << x.parts.front().name;
  }
}

/// bfloat16 rounds to 8 bits: an error of 2^-9. Through three layers there and back a number meets about a hundred
/// roundings, which as chance adds them up are 10 * 2^-9 = 0.02 of a gradient; 0.05 is allowed. That holds with the
/// experts of the float32 forward: without, a token that goes to another expert would be most of the difference.
TEST_P(SmallModel, BFloat16IsNearFloat32WithTheSameExperts) {
  Batch batch;
  batch.tokens = at::cat({some_tokens(24, 0), some_tokens(24, 1)}, 0);
  batch.targets = shifted(batch.tokens);
  const auto exact = load(), rounded = load();
  const ForwardResult result = exact->forward(batch, {});
  const Loss loss = compute_loss(*exact, batch, result, {});
  loss.total.backward();
  ForwardOptions options{.type = at::kBFloat16};
  for (const LayerRouting& layer : result.routing) options.fixed_ids.push_back(layer.ids);
  const ForwardResult again = rounded->forward(batch, options);
  const Loss near = compute_loss(*rounded, batch, again, {});
  near.total.backward();
  EXPECT_EQ(again.rows.scalar_type(), at::kBFloat16);
  for (std::size_t i = 0; i < result.routing.size(); ++i)
    EXPECT_TRUE(same_bits(again.routing[i].ids, result.routing[i].ids));
  EXPECT_NEAR(near.total.item<double>(), loss.total.item<double>(), 0.02 * loss.total.item<double>());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < exact->weights().all().size(); ++i) {
    const Tensor &x = rounded->weights().all()[i].values.grad(), &y = exact->weights().all()[i].values.grad();
    if (!y.defined()) continue;
    EXPECT_EQ(x.scalar_type(), at::kFloat);
    difference += std::pow(distance(x, y), 2);
    size += std::pow(length_of(y), 2);
  }
  RecordProperty("relative_distance", std::to_string(std::sqrt(difference / size)));
  EXPECT_LE(std::sqrt(difference / size), 0.05);
  EXPECT_GT(std::sqrt(difference / size), 1e-4) << "nothing was rounded";
}

INSTANTIATE_TEST_SUITE_P(Train, SmallModel,
                         ::testing::Values("deepseek_v3", "deepseek_v2", "deepseek_v2_attention", "deepseek_v3_mtp",
                                           "llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe"),
                         [](const auto& info) { return info.param; });

/// Gradients of two halves of a batch add up to those of the whole.
TEST(Loss, AccumulatesToTheWholeBatch) {
  const Checkpoint checkpoint = Checkpoint::open(golden_dir() / "train/models/deepseek_v3_mtp");
  const auto whole = make_model(checkpoint, {.further_tokens = true}),
             halves = make_model(checkpoint, {.further_tokens = true});
  Batch batch;
  batch.tokens = (at::arange(64, at::kLong) * 29).remainder(96).reshape({4, 16});
  batch.targets = shifted(batch.tokens);
  batch.targets.narrow(0, 0, 1).fill_(no_target);  // halves with unequal numbers of targets
  const LossOptions options{.balance_weight = 0.1, .z_weight = 0.01};
  const Loss loss = compute_loss(*whole, batch, whole->forward(batch, {}), options);
  loss.total.backward();
  double sum = 0;
  for (const std::int64_t first : {0, 2}) {
    const Batch half{batch.tokens.narrow(0, first, 2), batch.targets.narrow(0, first, 2), {}};
    const Loss part = compute_loss(*halves, half, halves->forward(half, {}), options, count(batch));
    part.total.backward();
    sum += part.total.item<double>();
  }
  EXPECT_NEAR(sum, loss.total.item<double>(), 1e-6 * sum);
  for (std::size_t i = 0; i < whole->weights().all().size(); ++i) {
    const Tensor &x = halves->weights().all()[i].values.grad(), &y = whole->weights().all()[i].values.grad();
    if (y.defined()) {
      EXPECT_LE(distance(x, y), 1e-4 * length_of(y) + 1e-7);
    }
  }
}

TEST(Pass, RefusesWhatIsNoBatchOfTheModel) {
  const auto model = make_model(Checkpoint::open(golden_dir() / "train/models/llama"), {});
  Batch batch;
  batch.tokens = integers({{1, 2, 96}});
  EXPECT_THROW(model->forward(batch, {}), Error);
  batch.tokens = integers({{1, 2, -1}});
  EXPECT_THROW(model->forward(batch, {}), Error);
  batch.tokens = at::zeros({1, 65}, at::kLong);  // longer than the context
  EXPECT_THROW(model->forward(batch, {}), Error);
}

}  // namespace
}  // namespace moebox::train::test

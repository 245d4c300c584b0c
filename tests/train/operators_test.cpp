// Our operators on the processor against LibTorch's own, on tensors as models have them: parts of others, several
// types.
#include <functional>

#include <gtest/gtest.h>

#include "train/attention.h"
#include "train/experts.h"
#include "train/norm.h"
#include "train/projection.h"
#include "train/rope.h"
#include "train/swiglu.h"
#include "train/train_testing.h"

namespace moebox::train::test {
namespace {

using Inputs = std::vector<Tensor>;
using Operator = std::function<Tensor(const Inputs&)>;

class Operators : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  static at::ScalarType type() { return GetParam(); }
  /// bfloat16 rounds weights, results and gradients by 2^-9 each; float32 sums of some dozens of numbers.
  static double tolerance() { return type() == at::kFloat ? 16 * 0x1p-24 : 8 * 0x1p-9; }

  /// Result and gradients with the first `n_rounded` inputs as they are, and with these in double precision.
  static void expect_equal(const Operator& run, const Inputs& inputs, std::size_t n_rounded) {
    for (const int n_threads : {1, 3}) {
      const Threads threads(n_threads);
      Inputs a, b;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const bool learnt = inputs[i].is_floating_point();
        a.push_back(inputs[i].clone().requires_grad_(learnt));
        b.push_back((i < n_rounded ? inputs[i].to(at::kDouble) : inputs[i].clone()).requires_grad_(learnt));
      }
      const Tensor x = run(a), y = run(b);
      ASSERT_EQ(x.sizes(), y.sizes());
      EXPECT_LE(distance(x.detach(), y.detach()), tolerance() * length_of(y.detach()));
      const Tensor gradient = at::cos(at::arange(x.numel())).reshape(x.sizes()).to(x.scalar_type());
      x.backward(gradient);
      y.backward(gradient.to(y.scalar_type()));
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (!a[i].requires_grad()) continue;
        ASSERT_TRUE(a[i].grad().defined() && b[i].grad().defined()) << "input " << i;
        EXPECT_EQ(a[i].grad().scalar_type(), inputs[i].scalar_type());
        EXPECT_LE(distance(a[i].grad(), b[i].grad()), tolerance() * length_of(b[i].grad())) << "input " << i;
        EXPECT_GT(length_of(b[i].grad()), 0.0) << "input " << i;
      }
    }
  }
};

TEST_P(Operators, Projection) {
  expect_equal([](const Inputs& in) { return project(in[0].narrow(1, 7, 24), in[1], in[2]); },
               {normal({33, 70}, 1).to(type()), normal({50, 24}, 2), normal({50}, 3)}, 1);
}

TEST_P(Operators, Norm) {
  const auto norm = [](const Tensor& x, const Tensor& weight) {
    return rms_norm(x, weight, 1e-5, x.scalar_type() == at::kDouble ? at::kDouble : type());
  };
  expect_equal([&](const Inputs& in) { return norm(in[0].narrow(1, 11, 40), in[1]); },
               {normal({37, 60}, 1).to(type()), normal({40}, 2)}, 1);
  expect_equal([&](const Inputs& in) { return norm(in[0], in[1]); }, {normal({37, 40}, 3), normal({40}, 4)}, 1);
  expect_equal([&](const Inputs& in) { return norm(in[0], in[1]); },
               {normal({2, 5, 3, 16}, 5).to(type()), normal({16}, 6)}, 1);
}

TEST_P(Operators, Rotation) {
  for (const bool interleaved : {false, true}) {
    RopeSpec spec;
    spec.dim = 8;
    spec.interleaved = interleaved;
    const RopeTable table = make_rope_table(spec, 9, at::kCPU);
    const auto rotated = [&](const Tensor& in) { return rotate(in.narrow(3, in.size(3) - 12, 12), table); };
    // The order of rotated values is each way's own: what must agree is the product of two rotated rows.
    expect_equal(
        [&](const Inputs& in) {
          const Tensor q = rotated(in[0]), k = rotated(in[1]);
          return (q * k).sum(3, false, q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
        },
        {normal({2, 9, 3, 20}, 1).to(type()), normal({2, 9, 1, 12}, 2).to(type())}, 2);
  }
}

TEST_P(Operators, Attention) {
  const Tensor documents = integers({{0, 0, 0, 1, 1, 1, 1, 2, -1}, {0, 0, 0, 0, 0, 0, 0, 0, 0}}).to(at::kInt);
  for (const Tensor& of : {Tensor(), documents})
    expect_equal(
        [&](const Inputs& in) { return attention(in[0].narrow(3, 6, 24), in[1], in[2].narrow(3, 0, 20), of, 0.3); },
        {normal({2, 9, 4, 30}, 1).to(type()), normal({2, 9, 2, 24}, 2).to(type()), normal({2, 9, 2, 36}, 3).to(type())},
        3);
}

TEST_P(Operators, SwiGlu) {
  expect_equal([](const Inputs& in) { return swiglu(in[0]); }, {normal({21, 34}, 1).to(type())}, 1);
}

TEST_P(Operators, Experts) {
  constexpr std::int64_t n_tokens = 40, n_experts = 6, hidden = 20, width = 12;
  // Tokens with one, two, three and no experts; nobody takes the last one.
  const Tensor ids = integers({{0, -1, -1}, {1, 3, -1}, {0, 2, 4}, {-1, -1, -1}}).repeat({n_tokens / 4, 1});
  expect_equal([](const Inputs& in) { return experts(in[0], in[4], in[1], in[2], in[3]); },
               {normal({n_tokens, hidden}, 1).to(type()), normal({n_tokens, 3}, 2),
                normal({n_experts, 2 * width, hidden}, 3), normal({n_experts, hidden, width}, 4), ids},
               1);
}

TEST_P(Operators, CrossEntropy) {
  const Tensor targets = at::arange(29, at::kLong).remainder(11);
  targets.narrow(0, 3, 5).fill_(no_target);
  expect_equal([&](const Inputs& in) { return cross_entropy(in[0], in[1], targets, 8); },
               {normal({29, 16}, 1).to(type()), normal({13, 16}, 2)}, 1);
}

INSTANTIATE_TEST_SUITE_P(Train, Operators, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace moebox::train::test

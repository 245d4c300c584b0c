#include "runtime/prompt_pacer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

namespace moebox {
namespace {

/// Milliseconds of a step by its prompt tokens.
using Cost = std::function<double(int)>;
/// A step that reads the weights, and what each token computes.
const Cost dense = [](int n) { return 20 + 0.9 * n; };
/// Each of the first tokens meets experts that no other one has met.
const Cost with_experts = [](int n) { return 25 + 150 * (1 - std::pow(0.93, n)) + 2.5 * n; };

/// The steps while a prompt of `n_prompt` tokens is computed beside `n_answers`.
std::vector<double> compute_prompt(PromptPacer& pacer, int n_answers, int n_prompt, const Cost& cost) {
  std::vector<double> steps;
  for (int done = 0; done < n_prompt;) {
    const int n = std::min(n_prompt - done, pacer.tokens(n_answers));
    steps.push_back(cost(n));
    pacer.step_took(n_answers, n, steps.back());
    done += n;
  }
  return steps;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(static_cast<double>(values.size() - 1) * share)];
}

TEST(PromptPacer, StepsTakeWhatIsAllowedAndMostOfIt) {
  for (const Cost& cost : {dense, with_experts}) {
    for (const double slowdown : {1.5, 2.0, 4.0}) {
      PromptPacer pacer({512, slowdown});
      for (int i = 0; i < 20; ++i) pacer.step_took(1, 0, cost(0));
      const std::vector<double> steps = compute_prompt(pacer, 1, 4000, cost);
      EXPECT_LE(quantile(steps, 0.95), std::max(slowdown * cost(0), cost(1)));
      EXPECT_GE(quantile(steps, 0.5), std::min(1 + 0.5 * (slowdown - 1), cost(1) / cost(0)) * cost(0));
    }
  }
}

TEST(PromptPacer, WhatAStepTakesWithoutAPromptIsMeasuredFirst) {
  PromptPacer pacer({512, 2});
  EXPECT_EQ(pacer.tokens(3), 0);
  pacer.step_took(3, 0, 10);
  EXPECT_GT(pacer.tokens(3), 0);
  EXPECT_EQ(pacer.tokens(30), 0);  // another number of answers, another time
}

TEST(PromptPacer, AMachineThatBecomesFasterIsNoticed) {
  PromptPacer pacer({512, 2});
  for (int i = 0; i < 20; ++i) pacer.step_took(1, 0, 10 * dense(0));
  (void)compute_prompt(pacer, 1, 2000, [](int n) { return 10 * dense(n); });
  const auto fast = compute_prompt(pacer, 1, 200000, dense);
  ASSERT_GT(fast.size(), 1000u);
  EXPECT_LE(quantile({fast.end() - 200, fast.end()}, 0.95), 2 * dense(0));
}

// Short contexts when the prompt arrives, long ones before it is read: a prompt must not starve because of what a step
// took then.
TEST(PromptPacer, AnswersWhoseContextsGrowAreNotBlamedOnThePrompt) {
  PromptPacer pacer({512, 2});
  double n_steps = 0;
  const auto growing = [&](int n) { return 8 + 0.02 * n_steps + 0.5 * n; };
  for (int i = 0; i < 20; ++i) pacer.step_took(1, 0, growing(0));
  for (int done = 0; done < 8000; ++n_steps) {
    const int n = pacer.tokens(1);
    pacer.step_took(1, n, growing(n));
    done += n;
  }
  // Three quarters of 8 ms and more, at half a millisecond a token: 12 tokens a step and more.
  EXPECT_LT(n_steps, 8000 / 11);
  EXPECT_GT(n_steps, 8000 / 40);
}

TEST(PromptPacer, OneStepThatWaitedForTheProcessorChangesLittle) {
  PromptPacer pacer({512, 2});
  for (int i = 0; i < 20; ++i) pacer.step_took(1, 0, 20);
  (void)compute_prompt(pacer, 1, 2000, dense);
  const int before = pacer.tokens(1);
  pacer.step_took(1, 0, 5000);
  (void)compute_prompt(pacer, 1, 400, dense);
  EXPECT_NEAR(pacer.tokens(1), before, 0.3 * before);
  pacer.step_took(1, before, 5000);
  (void)compute_prompt(pacer, 1, 400, dense);
  EXPECT_NEAR(pacer.tokens(1), before, 0.3 * before);
}

TEST(PromptPacer, NeverMoreThanAStepHolds) {
  PromptPacer pacer({64, 1000});
  pacer.step_took(1, 0, 100);
  for (const double ms : compute_prompt(pacer, 1, 4000, [](int n) { return 100 + 0.001 * n; })) EXPECT_LE(ms, 100.064);
  EXPECT_EQ(pacer.tokens(1), 64);
}

}  // namespace
}  // namespace moebox

#include "server/rate_limiter.h"

#include <gtest/gtest.h>

namespace moebox {
namespace {

using namespace std::chrono_literals;
const RateLimiter::Time start = std::chrono::steady_clock::now();

TEST(RateLimiter, WithoutLimitsEverythingPasses) {
  RateLimiter limiter(1, 0, 0, start);
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(limiter.take(0, start).allowed);
}

TEST(RateLimiter, LimitsRequestsOfAMinute) {
  RateLimiter limiter(2, 60, 0, start);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(limiter.take(0, start).allowed) << i;
  const auto refused = limiter.take(0, start);
  EXPECT_FALSE(refused.allowed);
  EXPECT_FALSE(refused.by_tokens);
  EXPECT_NEAR(refused.retry_after_s, 1.0, 1e-6);
  EXPECT_TRUE(limiter.take(1, start).allowed) << "callers do not share a bucket";
  EXPECT_FALSE(limiter.take(0, start + 900ms).allowed);
  EXPECT_TRUE(limiter.take(0, start + 1001ms).allowed);
  EXPECT_FALSE(limiter.take(0, start + 1001ms).allowed);
}

TEST(RateLimiter, TheBucketHoldsAMinuteAtMost) {
  RateLimiter limiter(1, 3, 0, start);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.take(0, start + 24h).allowed);
  EXPECT_FALSE(limiter.take(0, start + 24h).allowed);
}

TEST(RateLimiter, TokensAreChargedAfterwardsAndPaidBack) {
  RateLimiter limiter(1, 0, 600, start);
  EXPECT_TRUE(limiter.take(0, start).allowed);
  limiter.charge_tokens(0, 1200, start);  // an answer longer than what was left
  const auto refused = limiter.take(0, start);
  EXPECT_FALSE(refused.allowed);
  EXPECT_TRUE(refused.by_tokens);
  EXPECT_NEAR(refused.retry_after_s, 60.1, 0.01);
  EXPECT_FALSE(limiter.take(0, start + 60s).allowed);
  EXPECT_TRUE(limiter.take(0, start + 61s).allowed);
}

TEST(RateLimiter, LessThanOneAMinuteStillLetsOneThrough) {
  RateLimiter limiter(1, 0.5, 0, start);
  EXPECT_TRUE(limiter.take(0, start).allowed);
  EXPECT_FALSE(limiter.take(0, start + 60s).allowed);
  EXPECT_TRUE(limiter.take(0, start + 121s).allowed);
}

TEST(RateLimiter, ARefusedRequestCostsNothing) {
  RateLimiter limiter(1, 1, 0, start);
  EXPECT_TRUE(limiter.take(0, start).allowed);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(limiter.take(0, start + 30s).allowed);
  EXPECT_TRUE(limiter.take(0, start + 60s + 1ms).allowed);
}

}  // namespace
}  // namespace moebox

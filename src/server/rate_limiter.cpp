#include "server/rate_limiter.h"

#include <algorithm>

namespace moebox {

double TokenBucket::level(Time now) {
  if (now > filled_) {
    level_ = std::min(per_minute_, level_ + std::chrono::duration<double>(now - filled_).count() * per_minute_ / 60.0);
    filled_ = now;
  }
  return level_;
}

double TokenBucket::wait_s(double amount, Time now) {
  const double missing = amount - level(now);
  return missing <= 0 ? 0 : missing * 60.0 / per_minute_;
}

RateLimiter::RateLimiter(int n_callers, double requests_per_minute, double tokens_per_minute, Time now)
    : requests_per_minute_(requests_per_minute), tokens_per_minute_(tokens_per_minute) {
  for (int i = 0; i < n_callers; ++i) {
    callers_.push_back({TokenBucket(requests_per_minute, now), TokenBucket(tokens_per_minute, now)});
  }
}

RateLimiter::Decision RateLimiter::take(int caller, Time now) {
  Decision decision;
  if (!limits_requests() && !limits_tokens()) return decision;
  const std::lock_guard lock(mutex_);
  Caller& buckets = callers_.at(static_cast<std::size_t>(caller));
  // A limit below one a minute still lets single requests through: a full bucket is enough.
  if (limits_tokens()) {
    // A request may start while any tokens are left; its prompt and answer are charged when they are known.
    const double wait = buckets.tokens.wait_s(std::min(1.0, tokens_per_minute_), now);
    if (wait > 0) {
      decision.allowed = false;
      decision.by_tokens = true;
      decision.retry_after_s = wait;
    }
  }
  if (limits_requests()) {
    const double wait = buckets.requests.wait_s(std::min(1.0, requests_per_minute_), now);
    if (wait > 0) {
      decision.allowed = false;
      decision.by_tokens = decision.by_tokens && wait < decision.retry_after_s;
      decision.retry_after_s = std::max(decision.retry_after_s, wait);
    }
  }
  if (decision.allowed && limits_requests()) buckets.requests.charge(1, now);
  decision.remaining_requests = std::max(0.0, buckets.requests.level(now));
  decision.remaining_tokens = std::max(0.0, buckets.tokens.level(now));
  return decision;
}

void RateLimiter::charge_tokens(int caller, double tokens, Time now) {
  if (!limits_tokens()) return;
  const std::lock_guard lock(mutex_);
  callers_.at(static_cast<std::size_t>(caller)).tokens.charge(tokens, now);
}

}  // namespace moebox

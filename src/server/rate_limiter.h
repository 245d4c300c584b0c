// Token buckets: so many requests and so many tokens a minute for each caller.
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

namespace moebox {

/// A bucket fills at `per_minute` and holds one minute's worth. Its level may go below zero: what was used is always
/// charged.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  TokenBucket(double per_minute, Time now) : per_minute_(per_minute), level_(per_minute), filled_(now) {}

  /// The level after filling up to `now`.
  double level(Time now);
  void charge(double amount, Time now) { level(now), level_ -= amount; }
  /// Seconds until the level reaches `amount`; 0 when it has.
  double wait_s(double amount, Time now);

 private:
  double per_minute_, level_;
  Time filled_;
};

/// One pair of buckets for each caller. Thread safe.
class RateLimiter {
 public:
  using Time = TokenBucket::Time;

  /// A limit of 0 is none. Caller numbers are 0 .. n_callers - 1.
  RateLimiter(int n_callers, double requests_per_minute, double tokens_per_minute,
              Time now = std::chrono::steady_clock::now());

  struct Decision {
    bool allowed = true;
    bool by_tokens = false;    // which limit refused
    double retry_after_s = 0;  // when not allowed
    double remaining_requests = 0, remaining_tokens = 0;
  };
  /// Takes one request, if there is one left and the tokens are not used up.
  Decision take(int caller, Time now = std::chrono::steady_clock::now());
  /// Books the tokens of a prompt or an answer.
  void charge_tokens(int caller, double tokens, Time now = std::chrono::steady_clock::now());

  bool limits_requests() const noexcept { return requests_per_minute_ > 0; }
  bool limits_tokens() const noexcept { return tokens_per_minute_ > 0; }
  double requests_per_minute() const noexcept { return requests_per_minute_; }
  double tokens_per_minute() const noexcept { return tokens_per_minute_; }

 private:
  struct Caller {
    TokenBucket requests, tokens;
  };

  const double requests_per_minute_, tokens_per_minute_;
  std::mutex mutex_;
  std::vector<Caller> callers_;
};

}  // namespace moebox

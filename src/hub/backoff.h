// Trying again: how often, after how long, and who is told.
#pragma once

#include <functional>
#include <optional>
#include <random>
#include <string>

#include "hub/hub.h"
#include "net/http_message.h"
#include "net/network_error.h"

namespace moebox {

/// A failure that comes with the other side's own word on when to come back.
class RetryLater : public NetworkError {
 public:
  RetryLater(std::string message, std::string where, int wait_ms, std::string hint = {})
      : NetworkError(std::move(message), std::move(where), true, std::move(hint)), wait_ms_(wait_ms) {}
  int wait_ms() const noexcept { return wait_ms_; }

 private:
  int wait_ms_;
};

/// How long an answer asks to wait: Retry-After in seconds or as a date (RFC 9110), or the hub's "ratelimit:
/// ...;t=seconds".
std::optional<int> retry_after_ms(const HttpHeaders& headers);

/// Exponential waits with jitter. Failures count until an attempt gets somewhere.
class Backoff {
 public:
  Backoff(const HubOptions& options, std::function<void()> tick)
      : options_(options), tick_(std::move(tick)), random_(std::random_device()()) {}

  /// After a failed attempt: waits and returns true, or returns false when it is to be given up.
  bool again(const NetworkError& error, bool got_somewhere);
  void succeeded() { failures_ = 0; }
  /// Passes a sentence on to whoever watches the pull.
  void tell(const std::string& text) const {
    if (options_.notice) options_.notice(text);
  }

 private:
  const HubOptions& options_;
  std::function<void()> tick_;
  std::minstd_rand random_;
  int failures_ = 0;
};

}  // namespace moebox

#include "hub/backoff.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include <fmt/core.h>
#include <time.h>

namespace moebox {
namespace {

constexpr int max_own_wait_ms = 30'000;
constexpr int max_asked_wait_ms = 300'000;  // the window of the hub's rate limit
constexpr int max_doublings = 16;

std::optional<int> seconds_to_ms(std::uint64_t seconds) {
  return static_cast<int>(std::min<std::uint64_t>(seconds, 1'000'000) * 1000);
}

}  // namespace

std::optional<int> retry_after_ms(const HttpHeaders& headers) {
  if (const auto value = headers.find("Retry-After")) {
    if (const auto seconds = parse_decimal(*value)) return seconds_to_ms(*seconds);
    std::tm date{};
    const char* end = strptime(value->c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
    if (end != nullptr && *end == '\0')
      return seconds_to_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(0, timegm(&date) - time(nullptr))));
  }
  if (const auto value = headers.find("RateLimit")) {
    const auto at = value->find(";t=");
    if (at != std::string::npos) {
      const std::string rest = value->substr(at + 3);
      if (const auto seconds = parse_decimal(rest.substr(0, rest.find_first_not_of("0123456789"))))
        return seconds_to_ms(*seconds);
    }
  }
  return std::nullopt;
}

bool Backoff::again(const NetworkError& error, bool got_somewhere) {
  if (!error.retryable()) return false;
  if (got_somewhere) failures_ = 0;
  if (++failures_ > options_.retries) return false;

  const double doubled = options_.backoff_ms * static_cast<double>(1 << std::min(failures_ - 1, max_doublings));
  // Half of it is jitter, so that many machines that lost the same server do not come back together.
  const double jitter = 0.5 + 0.5 * std::uniform_real_distribution<double>(0, 1)(random_);
  int wait_ms = static_cast<int>(std::min<double>(doubled, max_own_wait_ms) * jitter);
  if (const auto* later = dynamic_cast<const RetryLater*>(&error)) {
    if (later->wait_ms() > max_asked_wait_ms) return false;
    wait_ms = std::max(wait_ms, later->wait_ms());
  }
  if (options_.notice) {
    options_.notice(fmt::format("{}: {}; trying again in {:.1f} s ({} of {})", error.where(), error.message(),
                                wait_ms / 1000.0, failures_, options_.retries));
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  while (std::chrono::steady_clock::now() < end) {
    tick_();
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(std::chrono::milliseconds(100),
                                                                              end - std::chrono::steady_clock::now()));
  }
  return true;
}

}  // namespace moebox

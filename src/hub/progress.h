// Tells the caller how far a pull is, not more often than a person can read, and turns its "stop" into
// Error(cancelled).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"
#include "hub/hub.h"

namespace moebox {

class ProgressReporter {
 public:
  ProgressReporter(std::string file, std::uint64_t total_bytes, const PullProgress& progress)
      : file_(std::move(file)), total_bytes_(total_bytes), progress_(progress) {}

  void set_total(std::uint64_t total_bytes) { total_bytes_ = total_bytes; }
  /// What is done; passes it on when the last time is 50 ms ago.
  void report(std::uint64_t done_bytes) {
    done_bytes_ = done_bytes;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ >= std::chrono::milliseconds(50)) send(now);
  }
  /// Nothing new, but may the pull go on?
  void tick() { report(done_bytes_); }
  void finish(std::uint64_t done_bytes) {
    done_bytes_ = done_bytes;
    if (total_bytes_ == 0) total_bytes_ = done_bytes;
    send(std::chrono::steady_clock::now());
  }

 private:
  void send(std::chrono::steady_clock::time_point now) {
    last_ = now;
    if (progress_ && !progress_(file_, done_bytes_, total_bytes_)) {
      throw Error(ErrorKind::cancelled, "stopped", file_, "what came is kept; pull again to continue");
    }
  }

  std::string file_;
  std::uint64_t done_bytes_ = 0, total_bytes_;
  const PullProgress& progress_;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace moebox

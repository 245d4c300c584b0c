// A progress bar on stderr: redrawn in place on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/console.h"

namespace moebox::cli {

class ProgressBar {
 public:
  /// `doing` is what it says where it cannot redraw: "fetching".
  explicit ProgressBar(const Console& console, std::string_view doing = "fetching")
      : console_(console), doing_(doing) {}
  ~ProgressBar() { finish(); }

  /// `total` 0: not known.
  void show(std::string_view what, std::uint64_t done_bytes, std::uint64_t total_bytes);
  /// Ends the line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  const Console& console_;
  std::string_view doing_;
  std::string what_;
  Clock::time_point start_, drawn_;
  std::uint64_t first_bytes_ = 0;
  int told_percent_ = 0;
  bool open_ = false;
};

}  // namespace moebox::cli

#include "cli/progress.h"

#include <algorithm>

#include <fmt/core.h>

namespace moebox::cli {
namespace {

constexpr auto redraw_interval = std::chrono::milliseconds(100);
constexpr int bar_columns = 24;

std::string time_text(double seconds) {
  const auto whole = static_cast<long long>(std::clamp(seconds, 0.0, 1e6));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

void ProgressBar::show(std::string_view what, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  const auto now = Clock::now();
  if (what != what_) {
    finish();
    what_ = what;
    start_ = now;
    drawn_ = {};
    first_bytes_ = done_bytes;
    told_percent_ = 0;
    if (!console_.can_redraw_error()) {
      console_.note(
          fmt::format("{} {}{}\n", doing_, printable(what), total_bytes > 0 ? ", " + bytes_text(total_bytes) : ""));
    }
  }
  const double share =
      total_bytes > 0 ? std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes)) : 0;
  if (!console_.can_redraw_error()) {
    const int percent = static_cast<int>(share * 100);
    if (percent / 25 > told_percent_ / 25) console_.note(fmt::format("  {} %\n", percent / 25 * 25));
    told_percent_ = std::max(told_percent_, percent);  // a source that begins again is not told twice
    return;
  }
  const bool complete = total_bytes > 0 && done_bytes >= total_bytes;
  if (now - drawn_ < redraw_interval && !complete) return;
  drawn_ = now;
  open_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double speed =
      seconds > 0.2 ? static_cast<double>(done_bytes - std::min(done_bytes, first_bytes_)) / seconds : 0;
  std::string line;
  if (total_bytes > 0) {
    const int filled = static_cast<int>(share * bar_columns);
    line = fmt::format("[{}{}] {:3.0f} %  {} of {}", std::string(static_cast<std::size_t>(filled), '#'),
                       std::string(static_cast<std::size_t>(bar_columns - filled), '.'), share * 100,
                       bytes_text(done_bytes), bytes_text(total_bytes));
  } else {
    line = bytes_text(done_bytes);
  }
  if (speed > 0) line += fmt::format("  {}/s", bytes_text(static_cast<std::uint64_t>(speed)));
  if (speed > 0 && total_bytes > done_bytes) {
    line += fmt::format("  {} left", time_text(static_cast<double>(total_bytes - done_bytes) / speed));
  }
  const int room = console_.columns() - display_width(line) - 3;
  const std::string name = printable(what_);
  line = display_width(name) <= room ? name + "  " + line : line;
  console_.note("\r\033[K" + line);
}

void ProgressBar::finish() {
  if (open_) console_.note("\n");
  open_ = false;
}

}  // namespace moebox::cli

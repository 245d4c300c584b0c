#include "report/run/events.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <system_error>

#include <fmt/core.h>
#include <sys/stat.h>

#include "base/error.h"
#include "io/output_file.h"

namespace moebox::report {
namespace {

namespace fs = std::filesystem;

// Readers want the infix, and take files in the order of their names.
constexpr std::string_view file_begin = "events.out.tfevents.", file_end = ".moebox";

std::string events_name(std::int64_t seconds) { return fmt::format("{}{:010}{}", file_begin, seconds, file_end); }

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// When the file was last written, in seconds since 1970.
double time_of(const fs::path& file) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) throw Error(ErrorKind::io, std::strerror(errno), file.string());
  return static_cast<double>(status.st_mtime);
}

/// Of the newest event file in the folder; 0: there is none.
std::int64_t newest_time(const fs::path& folder) {
  std::int64_t newest = 0;
  std::error_code unreadable;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, unreadable)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(file_begin)) continue;
    std::int64_t seconds = 0;
    std::from_chars(name.data() + file_begin.size(), name.data() + name.size(), seconds);
    newest = std::max(newest, seconds);
  }
  return newest;
}

double seconds_of(const LoggedStep& step) { return step.seconds > 0 && step.seconds < 1e9 ? step.seconds : 0; }

}  // namespace

std::vector<Scalar> scalars_of(const LoggedStep& step) {
  std::vector<Scalar> scalars;
  const auto add = [&](std::string tag, double value) {
    if (std::isfinite(value)) scalars.emplace_back(std::move(tag), value);
  };
  add("loss/cross_entropy", step.cross_entropy);
  add("loss/total", step.loss);
  for (std::size_t i = 0; i < step.further.size(); ++i) add(fmt::format("loss/further_{}", i + 1), step.further[i]);
  add("loss/balance", step.balance);
  add("loss/z", step.z);
  add("optimizer/learning_rate", step.learning_rate);
  add("optimizer/gradient_norm", step.gradient_norm);
  add("optimizer/skipped", step.skipped ? 1 : 0);
  if (seconds_of(step) > 0) add("speed/tokens_per_second", static_cast<double>(step.n_tokens) / step.seconds);
  if (step.resident_bytes > 0) add("memory/resident_bytes", static_cast<double>(step.resident_bytes));
  if (step.peak_bytes > 0) add("memory/peak_bytes", static_cast<double>(step.peak_bytes));
  for (const LayerTokens& layer : step.loads) {
    const LoadBalance balance = balance_of({layer});
    if (balance.n_experts == 0) continue;
    add(fmt::format("experts_busiest_over_mean/layer_{}", layer.layer), balance.busiest);
    add(fmt::format("experts_idle/layer_{}", layer.layer), static_cast<double>(balance.n_idle));
  }
  return scalars;
}

EventFile::EventFile(const fs::path& folder, std::int64_t first_step) {
  const double now = now_seconds();
  // A run that goes on within a second, or with a clock that was set back, still comes last.
  file_ = folder / events_name(std::max(static_cast<std::int64_t>(now), newest_time(folder) + 1));
  out_.open(file_, std::ios::binary | std::ios::trunc);
  append(version_record(now) + start_record(now, first_step));
}

void EventFile::add(const LoggedStep& step) { append(scalars_record(now_seconds(), step.step, scalars_of(step))); }

void EventFile::append(const std::string& record) {
  out_ << record << std::flush;
  if (!out_) throw Error(ErrorKind::io, std::strerror(errno), file_.string());
}

fs::path convert_log(const fs::path& log, const fs::path& folder, double end_time) {
  double seconds = 0;
  read_log(log, [](const auto&) {}, [&](const LoggedStep& step) { seconds += seconds_of(step); });
  double time = (end_time > 0 ? end_time : time_of(log)) - seconds;

  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorKind::io, error.message(), folder.string());
  const fs::path file = folder / events_name(0);
  if (newest_time(folder) > 0)
    throw Error(ErrorKind::invalid_argument, "other events are there, which TensorBoard would add to these",
                folder.string(), "take another folder; a run with output.tensorboard = true has written its own");
  OutputFile out(file, true);
  const auto write = [&](const std::string& record) { out.write(std::as_bytes(std::span(record))); };
  write(version_record(time) + start_record(time, 1));
  read_log(
      log, [](const auto&) {},
      [&](const LoggedStep& step) {
        time += seconds_of(step);
        write(scalars_record(time, step.step, scalars_of(step)));
      });
  out.commit();
  return file;
}

}  // namespace moebox::report

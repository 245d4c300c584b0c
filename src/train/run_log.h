// train.log.jsonl: one line of JSON that says what is trained, then one a step. What reports are made of, and what an
// auditor checks: every line but for its times, its memory and its link is bound to all lines before it by a chain of
// digests (report/run/log_line.h). And TensorBoard's events beside it, where the recipe asks for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "report/run/events.h"
#include "report/run/log_line.h"
#include "train/trainer.h"

namespace moebox::train {

using report::next_link;

/// What a line says of a step, without times and memory.
nlohmann::ordered_json step_content(const StepReport& report);

struct LogPosition {
  std::int64_t step = -1;  // -1: not even the first line
  std::string link;
  std::uint64_t bytes = 0;  // up to the end of the step's line
};

/// Reads up to the line of `last_step`, or to the end, and checks that steps follow each other and every link is right;
/// `see` gets every line's content (without times and link), from the first one, and its link. Throws
/// Error(invalid_file) that names the line.
LogPosition walk_log(
    const std::filesystem::path& file, std::int64_t last_step,
    const std::function<void(const nlohmann::ordered_json& content, const std::string& link)>& see = {});

class RunLog {
 public:
  /// Makes the file anew. `has_events`: TensorBoard's events are written into its folder as well. Throws Error(io).
  RunLog(const std::filesystem::path& file, const nlohmann::ordered_json& head, bool has_events = false);
  /// Goes on in a log behind `end`; what stands there already is cut off. Throws Error(io).
  RunLog(const std::filesystem::path& file, const LogPosition& end, bool has_events = false);

  /// `seconds`: what the step took; memory is this process's, now. Throws Error(io) when the disk is full: a run
  /// without its log is no use.
  void write(const nlohmann::ordered_json& content, double seconds);
  /// What was written survives a power cut. Throws Error(io).
  static void make_durable(const std::filesystem::path& file);
  /// The link of the last line.
  const std::string& link() const noexcept { return link_; }

 private:
  void begin_events(std::int64_t first_step, bool wanted);
  void write_line(nlohmann::ordered_json line, const nlohmann::ordered_json& content);

  const std::filesystem::path file_;
  std::ofstream out_;
  std::string link_;
  std::optional<report::EventFile> events_;
};

}  // namespace moebox::train

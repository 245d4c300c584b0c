// train.log.jsonl: one line of JSON that says what is trained, then one a step. What reports are made of, and what an
// auditor checks: every line but for its times and its link is bound to all lines before it by a chain of digests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "train/trainer.h"

namespace moebox::train {

/// What a line says of a step, without times.
nlohmann::ordered_json step_content(const StepReport& report);
/// BLAKE2b of the link before it ("" for the first line) and of the line's content, in hexadecimal digits.
std::string next_link(const std::string& link, const nlohmann::ordered_json& content);

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
  /// Makes the file anew. Throws Error(io).
  RunLog(const std::filesystem::path& file, const nlohmann::ordered_json& head);
  /// Goes on in a log behind `end`; what stands there already is cut off. Throws Error(io).
  RunLog(const std::filesystem::path& file, const LogPosition& end);

  /// `seconds`: what the step took. Throws Error(io) when the disk is full: a run without its log is no use.
  void write(const nlohmann::ordered_json& content, double seconds);
  /// What was written survives a power cut. Throws Error(io).
  static void make_durable(const std::filesystem::path& file);
  /// The link of the last line.
  const std::string& link() const noexcept { return link_; }

 private:
  void write_line(nlohmann::ordered_json line, const nlohmann::ordered_json& content);

  const std::filesystem::path file_;
  std::ofstream out_;
  std::string link_;
};

}  // namespace moebox::train

// train.log.jsonl: one line of JSON that says what is trained, then one a step. What reports are made of.
#pragma once

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "train/trainer.h"

namespace moebox::train {

class RunLog {
 public:
  /// Makes the file; there must be none. Throws Error(io).
  RunLog(const std::filesystem::path& file, const nlohmann::ordered_json& head);

  /// `seconds`: what the step took. Throws Error(io) when the disk is full: a run without its log is no use.
  void write(const StepReport& report, double seconds);

 private:
  void write_line(const nlohmann::ordered_json& line);

  const std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace moebox::train

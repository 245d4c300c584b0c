// Runs' folders for the tests of reports.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/io_testing.h"
#include "report/run/log_line.h"

namespace moebox::report::test {

using Json = nlohmann::ordered_json;

inline Json head_line() {
  return {{"moebox_train", 1},
          {"architecture", "deepseek_v3"},
          {"parameters", 1000},
          {"active_parameters", 600},
          {"config", {{"hidden_size", 8}}},
          {"data", std::string(64, '0')},
          {"steps", 100},
          {"learning_rate", 1e-3}};
}

inline Json step_line(std::int64_t step) {
  const double value = 7.5 / static_cast<double>(step);
  return {{"step", step},
          {"tokens", 256},
          {"targets", 250},
          {"loss", value},
          {"cross_entropy", value},
          {"gradient_norm", 1.5},
          {"learning_rate", 1e-3},
          {"balance", 1.25},
          {"z", 4.5},
          {"load", {{"1", {64, 32, 32, 0}}, {"3", {32, 32, 32, 32}}}},
          {"seconds", 0.5}};
}

/// The lines with their links.
inline std::string log_text(const std::vector<Json>& lines) {
  std::string text, link;
  for (Json line : lines) {
    link = next_link(link, content_of(line));
    line["chain"] = link;
    text += line.dump() + "\n";
  }
  return text;
}

inline std::vector<Json> log_lines(std::int64_t n_steps) {
  std::vector<Json> lines = {head_line()};
  for (std::int64_t step = 1; step <= n_steps; ++step) lines.push_back(step_line(step));
  return lines;
}

}  // namespace moebox::report::test
